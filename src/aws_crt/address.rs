//! From endpoint, bucket and key to what a request says: endpoint, Host header, encoded path.

use std::net::IpAddr;

use mountpoint_s3_crt::common::allocator::Allocator;
use mountpoint_s3_crt::common::uri::Uri;
use mountpoint_s3_crt::s3::endpoint_resolver::{RequestContext, ResolverError, RuleEngine};

use crate::error::{Error, Kind, Result};
use crate::store::{Addressing, S3Options, without_secrets};

/// Where the requests for one bucket go.
pub(super) struct Address {
    /// `scheme://host[:port]`
    pub endpoint: Uri,
    /// The Host header: it must be the endpoint's authority.
    pub host: String,
    /// What comes before `/key`: empty, or `/bucket`.
    pub path: String,
}

impl Address {
    pub fn resolve(allocator: &Allocator, bucket: &str, region: &str, options: &S3Options) -> Result<Address> {
        let url = match &options.endpoint_url {
            Some(endpoint) => custom(endpoint, bucket, options.addressing)?,
            None => amazon(allocator, bucket, region, options.addressing)?,
        };
        let wrong = |what: &str| Error::new(Kind::Usage, format!("endpoint {url}: {what}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let endpoint = Uri::new_from_str(allocator, format!("{scheme}://{host}")).map_err(|e| wrong(&e.to_string()))?;
        let path = path.trim_end_matches('/');
        Ok(Address {
            endpoint,
            host: host.to_owned(),
            path: match path {
                "" => String::new(),
                _ => format!("/{path}"),
            },
        })
    }
}

/// AWS itself: the rules that every AWS SDK uses know the partitions and their domains.
fn amazon(allocator: &Allocator, bucket: &str, region: &str, addressing: Addressing) -> Result<String> {
    let path_style = match addressing {
        Addressing::Path => true,
        Addressing::Virtual => false,
        // `a.b.s3.amazonaws.com` is not covered by the certificate for `*.s3.amazonaws.com`.
        Addressing::Auto => bucket.contains('.'),
    };
    let failed = |e: &dyn std::fmt::Display| {
        let message = format!("bucket {bucket} in region {region}: no S3 endpoint: {e}");
        Error::new(Kind::Usage, message)
    };
    let mut context = RequestContext::new(allocator).map_err(|e| failed(&e))?;
    context.add_string(allocator, "Region", region).map_err(|e| failed(&e))?;
    context.add_string(allocator, "Bucket", bucket).map_err(|e| failed(&e))?;
    context.add_boolean(allocator, "ForcePathStyle", path_style).map_err(|e| failed(&e))?;
    let rules = RuleEngine::new(allocator).map_err(|e| failed(&e))?;
    let endpoint = rules.resolve(context).map_err(|e| match e {
        ResolverError::EndpointNotResolved(why) => failed(&why),
        other => failed(&other),
    })?;
    endpoint.get_url().into_string().map_err(|_| failed(&"not UTF-8"))
}

fn custom(endpoint: &str, bucket: &str, addressing: Addressing) -> Result<String> {
    let wrong = |what: &str| {
        let message = format!("endpoint URL {}: {what}: write http(s)://host[:port]", without_secrets(endpoint));
        Error::new(Kind::Usage, message)
    };
    let (scheme, rest) = endpoint.split_once("://").ok_or_else(|| wrong("no scheme"))?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(wrong("not http or https"));
    }
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() {
        return Err(wrong("no host"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if !authority.bytes().all(allowed) {
        return Err(wrong("only a host and a port are expected"));
    }
    match addressing {
        Addressing::Virtual if is_ip(authority) => Err(wrong("an address cannot be a virtual host")),
        Addressing::Virtual => Ok(format!("{scheme}://{bucket}.{authority}")),
        Addressing::Auto | Addressing::Path => Ok(format!("{scheme}://{authority}/{bucket}")),
    }
}

fn is_ip(authority: &str) -> bool {
    if authority.starts_with('[') {
        return true;
    }
    let host = authority.split(':').next().unwrap_or_default();
    host.parse::<IpAddr>().is_ok()
}

/// A key as SigV4 and S3 want it in a path: everything but unreserved characters and '/' is encoded.
pub(super) fn encode_key(key: &str) -> String {
    encode(key, b"-._~/")
}

/// The same for a query value, where '/' is encoded too.
pub(super) fn encode_query_value(value: &str) -> String {
    encode(value, b"-._~")
}

fn encode(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_keys_like_sigv4() {
        assert_eq!(encode_key("a b/c+d=é~_-.%?"), "a%20b/c%2Bd%3D%C3%A9~_-.%25%3F");
        assert_eq!(encode_query_value("a/b+"), "a%2Fb%2B");
    }

    fn resolve(endpoint: Option<&str>, bucket: &str, region: &str, addressing: Addressing) -> Result<(String, String)> {
        let options = S3Options { endpoint_url: endpoint.map(str::to_owned), addressing, ..S3Options::default() };
        let a = Address::resolve(&Allocator::default(), bucket, region, &options)?;
        let scheme = a.endpoint.scheme().to_string_lossy().into_owned();
        Ok((format!("{scheme}://{}", a.host), a.path))
    }

    #[test]
    fn chooses_between_path_and_virtual_host() {
        use Addressing::*;
        let cases = [
            (None, "bbb", "eu-central-1", Auto, "https://bbb.s3.eu-central-1.amazonaws.com", ""),
            (None, "b.c", "eu-central-1", Auto, "https://s3.eu-central-1.amazonaws.com", "/b.c"),
            (None, "bbb", "eu-central-1", Path, "https://s3.eu-central-1.amazonaws.com", "/bbb"),
            (None, "bbb", "cn-north-1", Auto, "https://bbb.s3.cn-north-1.amazonaws.com.cn", ""),
            (Some("http://127.0.0.1:9000/"), "bbb", "x", Auto, "http://127.0.0.1:9000", "/bbb"),
            (Some("https://s3.example.com"), "bbb", "x", Auto, "https://s3.example.com", "/bbb"),
            (Some("HTTPS://s3.example.com"), "bbb", "x", Virtual, "https://bbb.s3.example.com", ""),
        ];
        for (endpoint, bucket, region, addressing, host, path) in cases {
            let got = resolve(endpoint, bucket, region, addressing).unwrap();
            assert_eq!(got, (host.to_owned(), path.to_owned()));
        }
        for bad in ["", "host", "ftp://h", "http://", "http://h/path", "http://u@h", "http://h?x"] {
            let error = resolve(Some(bad), "bbb", "x", Auto).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{bad}");
        }
        assert!(resolve(Some("http://[::1]:9"), "bbb", "x", Virtual).is_err());
    }
}
