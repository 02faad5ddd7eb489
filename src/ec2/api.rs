//! The API of EC2: DescribeInstanceTypes and DescribeVolumes. Without the feature `ec2` every question is answered with
//! [`Trouble::NotBuilt`].

use std::fmt;
use std::time::Duration;

use super::InstanceType;
use crate::error::Kind;

/// How long one question may take with everything that belongs to it: credentials, name, TLS, one more attempt.
pub const LIMIT: Duration = Duration::from_secs(2);

/// Why there is no answer. Its text is a sentence part for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "ec2"), allow(dead_code, reason = "without EC2 only the first comes to pass"))]
pub enum Trouble {
    NotBuilt,
    /// None were found, or none could be had: why.
    NoCredentials(String),
    /// The error code of EC2.
    Denied(String),
    Slow,
    /// No connection, or an error of the service that may pass.
    Unreachable(String),
    /// EC2 knows nothing of this name in this region.
    Unknown,
    /// The answer lacks what was asked for, or the request was refused: why.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotBuilt => f.write_str("this burst was built without EC2's API (cargo feature \"ec2\")"),
            Trouble::NoCredentials(why) => write!(f, "no credentials: {why}"),
            Trouble::Denied(code) => write!(f, "not allowed ({code})"),
            Trouble::Slow => write!(f, "no answer within {} s", LIMIT.as_secs()),
            Trouble::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Trouble::Unknown => f.write_str("not known in this region"),
            Trouble::Failed(why) => f.write_str(why),
        }
    }
}

impl Trouble {
    pub fn kind(&self) -> Kind {
        match self {
            Trouble::NotBuilt => Kind::Unsupported,
            Trouble::NoCredentials(_) | Trouble::Denied(_) => Kind::Denied,
            Trouble::Slow | Trouble::Unreachable(_) => Kind::Unavailable,
            Trouble::Unknown => Kind::NotFound,
            Trouble::Failed(_) => Kind::Failure,
        }
    }
}

/// What EC2 says of an instance type (ec2:DescribeInstanceTypes). `region`: None is that of the AWS configuration.
/// Takes at most [`LIMIT`].
#[cfg(feature = "ec2")]
pub fn instance_type(name: &str, region: Option<&str>) -> Result<InstanceType, Trouble> {
    super::client::ask(region, async |client| client.instance_type(name).await)
}

#[cfg(not(feature = "ec2"))]
pub fn instance_type(_: &str, _: Option<&str>) -> Result<InstanceType, Trouble> {
    Err(Trouble::NotBuilt)
}

/// Ids of the volumes that are attached to an instance, or are on the way, and have this tag (ec2:DescribeVolumes), in
/// order. Takes at most [`LIMIT`].
#[cfg(feature = "ec2")]
pub fn tagged_volumes(instance: &str, region: &str, key: &str, value: &str) -> Result<Vec<String>, Trouble> {
    super::client::ask(Some(region), async |client| client.tagged_volumes(instance, key, value).await)
}

#[cfg(not(feature = "ec2"))]
pub fn tagged_volumes(_: &str, _: &str, _: &str, _: &str) -> Result<Vec<String>, Trouble> {
    Err(Trouble::NotBuilt)
}
