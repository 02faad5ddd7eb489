//! What a failed request means: from CRT error code, HTTP status and S3's XML to one of our errors.

use mountpoint_s3_crt::common::error::Error as CrtError;
use mountpoint_s3_crt::s3::client::MetaRequestResult;
use mountpoint_s3_crt_sys::{aws_common_error as common, aws_io_errors as io, aws_s3_errors as s3};

use super::client::header;
use crate::error::{Error, Kind};

/// Error codes are numbered in blocks of this size, one block per CRT library.
const PACKAGE: i32 = 1024;

/// What was being done; a few answers mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Read,
    Write,
}

/// A request that failed, after all retries.
pub(super) struct Failure {
    /// The CRT's error code. The HTTP status is 0 when the last attempt got no usable answer.
    code: i32,
    text: String,
    pub status: i32,
    body: String,
    region: Option<String>,
    pub content_range: Option<String>,
}

impl Failure {
    pub fn new(result: MetaRequestResult) -> Failure {
        let headers = result.error_response_headers.as_ref();
        let find = |name| headers.and_then(|h| header(h, name));
        Failure {
            code: result.crt_error.raw_error(),
            text: words(&result.crt_error.to_string()),
            status: result.response_status,
            region: find("x-amz-bucket-region"),
            content_range: find("Content-Range"),
            body: result.error_response_body.map(|b| b.to_string_lossy().into_owned()).unwrap_or_default(),
        }
    }

    /// A failure known by its error code alone.
    pub fn of_attempt(error: CrtError) -> Failure {
        Failure {
            code: error.raw_error(),
            text: words(&error.to_string()),
            status: 0,
            body: String::new(),
            region: None,
            content_range: None,
        }
    }

    /// `name` is the object, `host` the endpoint.
    pub fn into_error(self, name: &str, host: &str, doing: Doing) -> Error {
        let (kind, what) = self.meaning(host, doing);
        let hint = self.hint(kind, doing);
        let detail = match (element(&self.body, "Code"), element(&self.body, "Message")) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            _ if self.status != 0 => format!("HTTP {}", self.status),
            _ => self.text,
        };
        let error = Error::new(kind, format!("{name}: {what} ({detail})"));
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// Refused for a reason that may pass, though the CRT does not repeat it: too many requests, too slow, too early.
    pub fn is_for_now(&self) -> bool {
        matches!(self.status, 408 | 425 | 429)
    }

    /// What to try, where more is known than the kind.
    fn hint(&self, kind: Kind, doing: Doing) -> Option<&'static str> {
        let of_s3 = element(&self.body, "Code").unwrap_or_default();
        let no_answer = self.status == 0 && of_s3.is_empty();
        Some(match (kind, of_s3, doing) {
            (Kind::Denied, "RequestTimeTooSkewed", _) => SET_THE_CLOCK,
            (Kind::Denied, ..) if self.code == s3::AWS_ERROR_S3_REQUEST_TIME_TOO_SKEWED as i32 => SET_THE_CLOCK,
            (Kind::Denied, "InvalidObjectState", _) => {
                "`aws s3api restore-object` brings it back, which takes minutes to hours; then run it again"
            }
            (Kind::Denied, code, _) if BAD_CREDENTIALS.contains(&code) => {
                "renew the credentials, or take the old ones out of the environment and ~/.aws"
            }
            (Kind::Denied, ..) if no_answer => {
                "give the instance a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a public \
                 bucket needs --no-sign-request"
            }
            (Kind::Denied, _, Doing::Read) => {
                "check s3:GetObject (and kms:Decrypt) of the role in use; without s3:ListBucket a missing object is \
                 denied, too"
            }
            (Kind::Denied, _, Doing::Write) => {
                "check s3:PutObject (with tags s3:PutObjectTagging, with a key of KMS kms:GenerateDataKey and \
                 kms:Decrypt) of the role in use"
            }
            (Kind::Usage, ..) if no_answer => "see ~/.aws/config and ~/.aws/credentials, or what AWS_CONFIG_FILE names",
            (Kind::Usage, ..) => "--region, AWS_REGION or the profile sets the region",
            (Kind::Unavailable, ..) if no_answer && is_tls(self.code) => {
                "check the endpoint (http or https) and the clock; --ca-bundle or AWS_CA_BUNDLE names a file of \
                 certificate authorities"
            }
            (Kind::Unavailable, ..)
                if self.status >= 500 || self.is_for_now() || self.code == s3::AWS_ERROR_S3_SLOW_DOWN as i32 =>
            {
                "wait until the server is less busy or well again, then run the same command again: a restore continues"
            }
            (Kind::Corrupt, ..) => {
                "run the same command again; if it comes again, the object or the network is damaged"
            }
            (Kind::NoSpace, ..) => "make room on the server, or choose another destination",
            _ => return None,
        })
    }

    fn meaning(&self, host: &str, doing: Doing) -> (Kind, String) {
        let is = |code: s3| self.code == code as i32;
        if is(s3::AWS_ERROR_S3_OBJECT_MODIFIED) {
            return changed();
        }
        let failing = [s3::AWS_ERROR_S3_SLOW_DOWN, s3::AWS_ERROR_S3_INTERNAL_ERROR, s3::AWS_ERROR_S3_REQUEST_TIMEOUT];
        if failing.into_iter().any(is) {
            let what = "the service kept failing after all retries";
            return (Kind::Unavailable, what.into());
        }
        if is(s3::AWS_ERROR_S3_REQUEST_TIME_TOO_SKEWED) {
            return clock();
        }
        if is(s3::AWS_ERROR_S3_CANCELED) {
            return (Kind::Failure, "the request was cancelled".into());
        }
        if is(s3::AWS_ERROR_S3_RESPONSE_CHECKSUM_MISMATCH) {
            return (Kind::Corrupt, "the checksum of the response is wrong".into());
        }
        let no_ranges = [
            s3::AWS_ERROR_S3_MISSING_CONTENT_RANGE_HEADER,
            s3::AWS_ERROR_S3_INVALID_CONTENT_RANGE_HEADER,
            s3::AWS_ERROR_S3_MISSING_CONTENT_LENGTH_HEADER,
            s3::AWS_ERROR_S3_INVALID_CONTENT_LENGTH_HEADER,
            s3::AWS_ERROR_S3_MISSING_ETAG,
        ];
        // More came than was asked for.
        let too_much = doing == Doing::Read && self.code == common::AWS_ERROR_DEST_COPY_TOO_SMALL as i32;
        if too_much || no_ranges.into_iter().any(is) {
            let what = "the server does not answer range requests as S3 does";
            return (Kind::Unsupported, what.into());
        }
        if let Some(code) = element(&self.body, "Code")
            && let Some(meaning) = self.by_s3_code(code, doing)
        {
            return meaning;
        }
        self.by_status(doing).unwrap_or_else(|| self.by_crt_code(host))
    }

    fn by_s3_code(&self, code: &str, doing: Doing) -> Option<(Kind, String)> {
        Some(match code {
            "NoSuchKey" => (Kind::NotFound, "the object does not exist".into()),
            "NoSuchBucket" => (Kind::NotFound, "the bucket does not exist".into()),
            "NoSuchVersion" => (Kind::NotFound, "the object has no such version".into()),
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => (Kind::Denied, "access denied".into()),
            code if BAD_CREDENTIALS.contains(&code) => (Kind::Denied, "the credentials were refused".into()),
            "RequestTimeTooSkewed" => clock(),
            "PreconditionFailed" | "ConditionalRequestConflict" => precondition(doing),
            "InvalidObjectState" => {
                (Kind::Denied, "the object is in an archived storage class (GLACIER or DEEP_ARCHIVE)".into())
            }
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => self.wrong_region(),
            "NotImplemented" => {
                let what = "the server does not support what was asked for";
                (Kind::Unsupported, what.into())
            }
            "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" => {
                let what = "the service kept failing after all retries";
                (Kind::Unavailable, what.into())
            }
            _ => return None,
        })
    }

    fn by_status(&self, doing: Doing) -> Option<(Kind, String)> {
        Some(match self.status {
            301 | 307 | 308 => self.wrong_region(),
            401 | 403 => (Kind::Denied, "access denied".into()),
            404 => match doing {
                Doing::Read => (Kind::NotFound, "the object or its bucket does not exist".into()),
                Doing::Write => (Kind::NotFound, "the bucket, or the upload that was begun, does not exist".into()),
            },
            405 => (Kind::NotFound, "this version is a delete marker, not an object".into()),
            409 | 412 => precondition(doing),
            416 if doing == Doing::Read => changed(),
            501 => {
                let what = "the server does not support what was asked for";
                (Kind::Unsupported, what.into())
            }
            _ if self.is_for_now() => {
                let what = match doing {
                    Doing::Read => "the service kept refusing the request for now, after all retries",
                    Doing::Write => "the service refuses the request for now",
                };
                (Kind::Unavailable, what.into())
            }
            507 => (Kind::NoSpace, "the server is full".into()),
            500..=599 => {
                let what = "the service kept failing after all retries";
                (Kind::Unavailable, what.into())
            }
            400..=499 => (Kind::Failure, "the server refused the request".into()),
            _ => return None,
        })
    }

    fn by_crt_code(&self, host: &str) -> (Kind, String) {
        let dns = [io::AWS_IO_DNS_QUERY_FAILED, io::AWS_IO_DNS_INVALID_NAME, io::AWS_IO_DNS_NO_ADDRESS_FOR_HOST];
        let is = |code: io| self.code == code as i32;
        if is_tls(self.code) {
            let what = format!("no TLS connection to {host}, whose certificate may be of no known authority");
            return (Kind::Unavailable, what);
        }
        if dns.into_iter().any(is) {
            return (Kind::Unavailable, format!("the host {host} has no address"));
        }
        match self.code / PACKAGE {
            // aws-c-io and aws-c-http: sockets, connections, protocol.
            1 | 2 => (Kind::Unavailable, format!("cannot reach {host}")),
            // aws-c-auth: only providers and signing fail here.
            6 => {
                let what = "no usable AWS credentials were found";
                (Kind::Denied, what.into())
            }
            // aws-c-sdkutils parses the shared files.
            15 => (Kind::Usage, "the AWS configuration files are malformed".into()),
            _ => (Kind::Failure, "the request failed".into()),
        }
    }

    fn wrong_region(&self) -> (Kind, String) {
        let region = self.region.as_deref().or(element(&self.body, "Region"));
        let what = match region {
            Some(region) => format!("the bucket is in the region {region}: set that region"),
            None => "the bucket is in another region: set its region".to_owned(),
        };
        (Kind::Usage, what)
    }
}

/// No attempt will get a TLS connection that one was refused, and each costs 10 to 30 seconds: so long
/// s2n hides from the peer when a handshake failed.
pub(super) fn is_tls(code: i32) -> bool {
    let tls = [
        io::AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE,
        io::AWS_IO_TLS_ERROR_ALERT_RECEIVED,
        io::AWS_IO_TLS_CTX_ERROR,
        io::AWS_IO_TLS_VERSION_UNSUPPORTED,
    ];
    tls.into_iter().any(|known| code == known as i32)
}

const SET_THE_CLOCK: &str = "set the clock (`timedatectl`, `chronyc tracking`), then run the same command again";

/// What S3 says of credentials that are wrong or too old.
const BAD_CREDENTIALS: [&str; 5] =
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"];

fn changed() -> (Kind, String) {
    let what = "the object was replaced while it was read";
    (Kind::ObjectChanged, what.into())
}

fn clock() -> (Kind, String) {
    let what = "the clock of this machine is too far off for signed requests";
    (Kind::Denied, what.into())
}

/// If-Match failed on a read, If-None-Match on a write.
fn precondition(doing: Doing) -> (Kind, String) {
    match doing {
        Doing::Read => changed(),
        Doing::Write => {
            let what = "an object of this name exists already: use --overwrite to replace it";
            (Kind::TargetInUse, what.into())
        }
    }
}

/// What the CRT says ("CRT error 1047: aws-c-io: AWS_IO_SOCKET_CONNECTION_REFUSED, socket connection refused.") from the
/// error's name on, which can be searched for.
fn words(text: &str) -> String {
    let named = text.find("AWS_").map_or(text, |at| &text[at..]);
    named.trim_end_matches('.').replacen(", ", ": ", 1)
}

/// The text of the first `<name>` element. S3's error documents are flat, so this is all it takes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32, status: i32, body: &str) -> Failure {
        Failure { code, text: "CRT error".into(), status, body: body.into(), region: None, content_range: None }
    }

    #[test]
    fn maps_to_kinds() {
        let invalid = s3::AWS_ERROR_S3_INVALID_RESPONSE_STATUS as i32;
        let cases = [
            (invalid, 404, "<Code>NoSuchKey</Code>", Kind::NotFound),
            (invalid, 404, "", Kind::NotFound),
            (invalid, 403, "<Error><Code>InvalidObjectState</Code>", Kind::Denied),
            (invalid, 400, "<Code>ExpiredToken</Code>", Kind::Denied),
            (invalid, 412, "", Kind::ObjectChanged),
            (invalid, 400, "<Code>AuthorizationHeaderMalformed</Code>", Kind::Usage),
            (invalid, 301, "", Kind::Usage),
            (invalid, 501, "<Code>NotImplemented</Code>", Kind::Unsupported),
            (invalid, 418, "<html>", Kind::Failure),
            (common::AWS_ERROR_DEST_COPY_TOO_SMALL as i32, 0, "", Kind::Unsupported),
            (invalid, 408, "<html>", Kind::Unavailable),
            (invalid, 425, "<html>", Kind::Unavailable),
            (invalid, 429, "<Code>TooManyRequests</Code>", Kind::Unavailable),
            (s3::AWS_ERROR_S3_SLOW_DOWN as i32, 0, "", Kind::Unavailable),
            (io::AWS_IO_SOCKET_CONNECTION_REFUSED as i32, 0, "", Kind::Unavailable),
            (io::AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE as i32, 0, "", Kind::Unavailable),
            (6 * PACKAGE + 9, 0, "", Kind::Denied),
        ];
        for (code, status, body, kind) in cases {
            let error = failure(code, status, body).into_error("s3://b/k", "host", Doing::Read);
            assert_eq!(error.kind(), kind, "{error}");
        }
        let region = "<Code>PermanentRedirect</Code><Region>eu-west-9</Region>";
        let error = failure(invalid, 301, region).into_error("s3://b/k", "host", Doing::Read);
        assert!(error.to_string().contains("eu-west-9"), "{error}");
        let error = failure(invalid, 412, "").into_error("s3://b/k", "host", Doing::Write);
        assert_eq!(error.kind(), Kind::TargetInUse);
    }

    #[test]
    fn says_what_can_be_searched_for() {
        let text = "CRT error 1047: aws-c-io: AWS_IO_SOCKET_CONNECTION_REFUSED, socket connection refused.";
        assert_eq!(words(text), "AWS_IO_SOCKET_CONNECTION_REFUSED: socket connection refused");
        assert_eq!(words("another one"), "another one");
    }

    #[test]
    fn hints_at_what_was_done() {
        let hint = |code, status, body, doing| {
            failure(code, status, body).into_error("s3://b/k", "host", doing).hint().unwrap_or_default()
        };
        let invalid = s3::AWS_ERROR_S3_INVALID_RESPONSE_STATUS as i32;
        assert!(hint(invalid, 403, "", Doing::Read).contains("s3:GetObject"));
        assert!(hint(invalid, 403, "", Doing::Write).contains("s3:PutObject"));
        assert!(hint(invalid, 403, "<Code>InvalidObjectState</Code>", Doing::Read).contains("restore-object"));
        assert!(hint(invalid, 403, "<Code>RequestTimeTooSkewed</Code>", Doing::Read).contains("clock"));
        assert!(hint(invalid, 400, "<Code>ExpiredToken</Code>", Doing::Read).contains("renew"));
        assert!(hint(6 * PACKAGE + 9, 0, "", Doing::Read).contains("AWS_PROFILE"));
        assert!(hint(invalid, 301, "", Doing::Read).contains("--region"));
        assert!(hint(invalid, 503, "<Code>SlowDown</Code>", Doing::Read).contains("busy"));
        assert!(hint(invalid, 429, "<html>", Doing::Read).contains("busy"));
        assert!(hint(io::AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE as i32, 0, "", Doing::Read).contains("--ca-bundle"));
        assert!(hint(io::AWS_IO_SOCKET_CONNECTION_REFUSED as i32, 0, "", Doing::Read).contains("endpoint"));
    }
}
