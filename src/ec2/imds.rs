//! The instance metadata service of EC2, version 2 only: a token first, then a document with it.
//!
//! Version 1 (no token) is never tried: it is what an attacker can be tricked into using, and many instances have it
//! switched off. Whatever answers on a network without the service (a proxy, a captive portal) is refused by its form.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>

use std::fmt;
use std::time::{Duration, Instant};

use ureq::Agent;

use super::instance_type;

/// How long everything together may take; the service answers within milliseconds where it exists.
pub const LIMIT: Duration = Duration::from_secs(2);

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";

/// Lifetime asked for the token: it is used at once.
const TOKEN_SECONDS: &str = "60";

/// More than any instance has.
const MOST_INTERFACES: usize = 128;

/// The longest answer that is read. The document has about 500 bytes.
const LONGEST: u64 = 64 << 10;

/// Where the service is, or that it must not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// `AWS_EC2_METADATA_DISABLED=true`.
    Disabled,
    /// The base of its URLs, and whether somebody named it (then it is asked also where nothing else says EC2).
    At { endpoint: String, named: bool },
}

/// What the identity document says. All values have the form that EC2 gives them; they were not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub instance_type: String,
    pub region: String,
    pub zone: String,
    pub account: String,
    pub instance_id: String,
}

/// Why there is no answer. Its text is a sentence part for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    Disabled,
    /// No connection, or it ended early.
    Unreachable(String),
    Slow,
    /// No token: the HTTP status of that request.
    NoToken(u16),
    /// A token, but not what was asked for with it: the HTTP status.
    NoDocument(u16),
    /// An answer in the wrong form: which, and what is wrong with it.
    Malformed(&'static str, String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Disabled => f.write_str("not asked (AWS_EC2_METADATA_DISABLED)"),
            Trouble::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Trouble::Slow => {
                write!(f, "no answer within {} s (in a container its hop limit may have to be 2)", LIMIT.as_secs())
            }
            Trouble::NoToken(403) => f.write_str("switched off for this instance (status 403 for a token)"),
            Trouble::NoToken(status @ (404 | 405)) => {
                write!(f, "gives no token (status {status}): version 1 alone is not used")
            }
            Trouble::NoToken(status) => write!(f, "gives no token (status {status})"),
            Trouble::NoDocument(401) => f.write_str("refused its own token (status 401)"),
            Trouble::NoDocument(status) => write!(f, "does not give what it was asked for (status {status})"),
            Trouble::Malformed(what, why) => write!(f, "its {what} is none: {why}"),
        }
    }
}

impl Service {
    /// What AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT and AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE say.
    /// For the command line only.
    pub fn from_environment() -> Service {
        let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return Service::Disabled;
        }
        if let Some(endpoint) = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            return Service::At { endpoint: endpoint.trim_end_matches('/').to_owned(), named: true };
        }
        let ipv6 = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").is_some_and(|v| v.eq_ignore_ascii_case("ipv6"));
        Service::At { endpoint: if ipv6 { IPV6 } else { IPV4 }.to_owned(), named: false }
    }

    /// Whether somebody named an endpoint.
    pub fn is_named(&self) -> bool {
        matches!(self, Service::At { named: true, .. })
    }

    /// What this instance is. Takes at most [`LIMIT`].
    pub fn identity(&self) -> Result<Identity, Trouble> {
        parse(&self.session()?.get("dynamic/instance-identity/document")?)
    }

    /// The network card of each network interface: its MAC address and the number of the card. Takes at most [`LIMIT`].
    pub fn network_cards(&self) -> Result<Vec<(String, u32)>, Trouble> {
        let session = self.session()?;
        let macs = session.get("meta-data/network/interfaces/macs/")?;
        let mut cards = Vec::new();
        for mac in macs.lines().map(|line| line.trim_end_matches('/')).take(MOST_INTERFACES) {
            if !is_mac(mac) {
                return Err(Trouble::Malformed("list of interfaces", shown(mac)));
            }
            let card = match session.get(&format!("meta-data/network/interfaces/macs/{mac}/network-card")) {
                Ok(text) => text.trim().parse().map_err(|_| Trouble::Malformed("network card", shown(&text)))?,
                // Types with one card have no numbers.
                Err(Trouble::NoDocument(404)) => 0,
                Err(trouble) => return Err(trouble),
            };
            cards.push((mac.to_owned(), card));
        }
        Ok(cards)
    }

    fn session(&self) -> Result<Session<'_>, Trouble> {
        let Service::At { endpoint, .. } = self else { return Err(Trouble::Disabled) };
        let end = Instant::now() + LIMIT;
        // No proxy and no redirection: the service is one hop away or not there.
        let agent: Agent = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("burst/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let request = agent
            .put(format!("{endpoint}/latest/api/token"))
            .config()
            .timeout_global(Some(left(end)?))
            .build()
            .header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        let token = answer(request.send_empty(), Trouble::NoToken)?;
        if !is_token(&token) {
            return Err(Trouble::Malformed("token", shown(&token)));
        }
        Ok(Session { endpoint, agent, token, end })
    }
}

/// A token, and the time until which everything must be answered.
struct Session<'a> {
    endpoint: &'a str,
    agent: Agent,
    token: String,
    end: Instant,
}

impl Session<'_> {
    fn get(&self, path: &str) -> Result<String, Trouble> {
        let request = self
            .agent
            .get(format!("{}/latest/{path}", self.endpoint))
            .config()
            .timeout_global(Some(left(self.end)?))
            .build()
            .header("X-aws-ec2-metadata-token", &self.token);
        answer(request.call(), Trouble::NoDocument)
    }
}

fn left(end: Instant) -> Result<Duration, Trouble> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Trouble::Slow) } else { Ok(left) }
}

fn answer(
    result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    refused: fn(u16) -> Trouble,
) -> Result<String, Trouble> {
    let failed = |e| match e {
        ureq::Error::Timeout(_) => Trouble::Slow,
        other => Trouble::Unreachable(other.to_string()),
    };
    let mut response = result.map_err(failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(refused(status));
    }
    let announced = response.body().content_length();
    let bytes = response.body_mut().with_config().limit(LONGEST).read_to_vec().map_err(failed)?;
    if announced.is_some_and(|length| length != bytes.len() as u64) {
        return Err(Trouble::Unreachable("the answer was cut short".into()));
    }
    String::from_utf8(bytes).map_err(|_| Trouble::Malformed("answer", "not text".into()))
}

fn is_token(text: &str) -> bool {
    // Today 56 characters of Base64; as opaque as its documentation leaves it, but fit for a header.
    let form = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"');
    (1..=1024).contains(&text.len()) && text.bytes().all(form)
}

/// Strictly: every field is there and has the form EC2 gives it.
fn parse(document: &str) -> Result<Identity, Trouble> {
    let wrong = |why: String| Trouble::Malformed("identity document", why);
    let document: serde_json::Value =
        serde_json::from_str(document).map_err(|_| wrong(format!("not JSON: {}", shown(document))))?;
    let field = |name: &str, fits: fn(&str) -> bool| match document.get(name).and_then(|v| v.as_str()) {
        Some(value) if fits(value) => Ok(value.to_owned()),
        Some(value) => Err(wrong(format!("{name} is {}", shown(value)))),
        None => Err(wrong(format!("{name} is missing"))),
    };
    Ok(Identity {
        instance_type: field("instanceType", instance_type::is_name)?,
        region: field("region", is_region)?,
        zone: field("availabilityZone", is_region)?,
        account: field("accountId", |v| v.len() == 12 && v.bytes().all(|b| b.is_ascii_digit()))?,
        instance_id: field("instanceId", is_instance_id)?,
    })
}

/// "eu-central-1", "us-west-2-lax-1a"
fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.contains('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// "0a:1b:2c:3d:4e:5f"
fn is_mac(text: &str) -> bool {
    text.len() == 17 && text.split(':').all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// "i-0123456789abcdef0"
pub fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|id| matches!(id.len(), 8 | 17) && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The beginning of what came, for a message.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    format!("{start:?}{}", if start.len() < text.len() { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"accountId": "123456789012", "architecture": "x86_64", "availabilityZone": "eu-central-1b",
        "instanceId": "i-0123456789abcdef0", "instanceType": "m7i.large", "region": "eu-central-1", "version": "2017-09-30"}"#;

    #[test]
    fn identity_documents() {
        let identity = parse(GOOD).unwrap();
        assert_eq!((identity.instance_type.as_str(), identity.zone.as_str()), ("m7i.large", "eu-central-1b"));
        let bad = [
            ("m7i.large", "../../etc"),
            ("\"m7i.large\"", "7"),
            ("eu-central-1\"", "eu-central-1/\""),
            ("123456789012", "12345678901"),
            ("i-0123456789abcdef0", "i-0123"),
            ("instanceType", "instancetype"),
        ];
        for (from, to) in bad {
            let document = GOOD.replace(from, to);
            assert!(document != GOOD && matches!(parse(&document), Err(Trouble::Malformed(..))), "{document}");
        }
        for bad in ["", "null", "[]", "<html></html>", "\"x\"", &GOOD[..GOOD.len() - 1]] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens() {
        assert!(is_token("AQAEAHNvbWV0aGluZw=="));
        for bad in ["", "<html>", "a b", "a\nb", &"x".repeat(2000)] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
