//! Where an archive is: an S3 object, a file, or standard input and output.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};

/// A place an archive is read from or written to, as it is given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `s3://bucket/key`, with `?versionId=ID` behind it for an old version.
    S3 {
        /// Letters, digits, dots, hyphens and underscores.
        bucket: String,
        /// Taken literally: nothing in it is percent-decoded.
        key: String,
        /// None is the latest one when it is opened.
        version: Option<String>,
    },
    /// A path. `./s3:name` names a file whose name looks like a URL.
    File(PathBuf),
    /// `-`: standard input or output.
    Stdio,
}

/// S3 limits object keys to this many bytes of UTF-8.
const MAX_KEY_BYTES: usize = 1024;

impl Location {
    /// Neither file nor bucket is looked at. Fails with [`Kind::Usage`].
    pub fn parse(text: &OsStr) -> Result<Location> {
        if text.is_empty() {
            return Err(usage("the location is empty: give s3://bucket/key, a file name or -"));
        }
        if text == "-" {
            return Ok(Location::Stdio);
        }
        // Only the start matters here; file names need not be UTF-8.
        let shown = text.to_string_lossy();
        if shown.starts_with("s3:") {
            let url = text.to_str().ok_or_else(|| usage(format!("{shown}: an S3 key must be valid UTF-8")))?;
            return parse_s3(url);
        }
        if let Some((scheme, _)) = shown.split_once("://")
            && !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            let shown = without_secrets(&shown);
            return Err(usage(format!(
                "{shown}: \"{scheme}://\" is not supported: give s3://bucket/key, a file name or - \
                 (a file of this name is ./{shown})"
            )));
        }
        Ok(Location::File(PathBuf::from(text)))
    }
}

/// A URL for messages: without user and password, and without a query that may be a signature.
pub fn without_secrets(url: &str) -> Cow<'_, str> {
    let (bare, has_query) = url.split_once('?').map_or((url, false), |(bare, _)| (bare, true));
    let (scheme, rest) = bare.split_once("://").unwrap_or(("", bare));
    let authority = rest.split('/').next().unwrap_or_default();
    let user = authority.rfind('@').map_or(0, |at| at + 1);
    if !has_query && user == 0 {
        return url.into();
    }
    let separator = if scheme.is_empty() { "" } else { "://" };
    let query = if has_query { "?..." } else { "" };
    format!("{scheme}{separator}{}{query}", &rest[user..]).into()
}

fn parse_s3(url: &str) -> Result<Location> {
    if url.contains("X-Amz-Signature=") {
        let shown = without_secrets(url);
        return Err(usage(format!("{shown}: a signed URL cannot be used: give s3://bucket/key, and credentials")));
    }
    let wrong = |what: &str| usage(format!("{url}: {what}: write s3://bucket/key"));
    let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("not an S3 location"))?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(wrong("the bucket name is missing"));
    }
    let bucket_ok = bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !bucket_ok || bucket.starts_with('.') {
        return Err(wrong("a bucket name holds letters, digits, dots, hyphens and underscores only"));
    }
    // A key may hold '?', so only this exact suffix is a version.
    let (key, version) = match key.rsplit_once("?versionId=") {
        Some((_, "")) => return Err(wrong("versionId is empty")),
        Some((key, id)) => (key, Some(id.to_owned())),
        None => (key, None),
    };
    if key.is_empty() {
        return Err(wrong("the key is missing"));
    }
    if key.ends_with('/') {
        return Err(wrong("the key ends with '/', which names a folder and not an object"));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(wrong("the key is longer than the 1024 bytes S3 allows"));
    }
    Ok(Location::S3 { bucket: bucket.to_owned(), key: key.to_owned(), version })
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::S3 { bucket, key, version: None } => write!(f, "s3://{bucket}/{key}"),
            Location::S3 { bucket, key, version: Some(v) } => {
                write!(f, "s3://{bucket}/{key}?versionId={v}")
            }
            Location::File(path) => write!(f, "{}", path.display()),
            Location::Stdio => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location> {
        Location::parse(OsStr::new(text))
    }

    #[test]
    fn secrets_of_urls() {
        for (url, shown) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("https://user:secret@host:1/a@b", "https://host:1/a@b"),
            ("https://host/k?X-Amz-Signature=secret", "https://host/k?..."),
            ("user:secret@host", "host"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn accepts_what_the_help_says() {
        for text in
            ["s3://bucket/key", "s3://my.bucket/a b/é+=?x", "s3://b-1/k?versionId=a.b_c-", "-", "./s3:file", "dir/file"]
        {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let old = Location::S3 { bucket: "b".into(), key: "k?versionId=1".into(), version: Some("2".into()) };
        assert_eq!(parse("s3://b/k?versionId=1?versionId=2").unwrap(), old);
    }

    #[test]
    fn refuses_with_a_usage_error() {
        let long = format!("s3://b/{}", "k".repeat(1025));
        let all = [
            "",
            "s3:",
            "s3:/b/k",
            "s3://",
            "s3://b",
            "s3://b/",
            "s3:///k",
            "s3://b/k/",
            "s3://b:1/k",
            "s3://b/k?versionId=",
            "s3://b/?versionId=1",
            "http://host/k",
            "s3://b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0",
            "file:///k",
            &long,
        ];
        for text in all {
            assert_eq!(parse(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        let signed = "https://b.s3.amazonaws.com/k?X-Amz-Security-Token=secret&X-Amz-Signature=secret";
        let said = parse(signed).unwrap_err().to_string();
        assert!(said.starts_with("https://b.s3.amazonaws.com/k?...: ") && !said.contains("secret"), "{said}");
        use std::os::unix::ffi::OsStrExt;
        let raw = OsStr::from_bytes(b"s3://b/\xff");
        assert_eq!(Location::parse(raw).unwrap_err().kind(), Kind::Usage);
    }
}
