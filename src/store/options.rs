//! How S3 is reached and how objects are stored there. Plain values: nothing here looks at flags,
//! and only [`S3Options::from_environment`] looks at the environment.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::observe::Events;
use crate::stop::StopFlag;

/// How requests name the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// Virtual hosts on AWS (except for a bucket name with dots, which no certificate matches);
    /// path style for a custom endpoint.
    #[default]
    Auto,
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}

/// Where credentials come from.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Environment, shared files, web identity, ECS, instance metadata: the order all AWS tools use.
    #[default]
    DefaultChain,
    /// One named profile of the shared files, also when the environment holds credentials.
    Profile(String),
    /// These.
    Static {
        /// What S3 knows it by; messages and logs may have it.
        access_key_id: String,
        /// Never in a message.
        secret_access_key: String,
        /// Of temporary credentials.
        session_token: Option<String>,
    },
    /// None: requests are not signed.
    Anonymous,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::DefaultChain => f.write_str("DefaultChain"),
            Credentials::Profile(name) => write!(f, "Profile({name:?})"),
            Credentials::Static { access_key_id, .. } => {
                write!(f, "Static({access_key_id:?}, secret not shown)")
            }
            Credentials::Anonymous => f.write_str("Anonymous"),
        }
    }
}

/// Encryption of a new object at rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// What the bucket says.
    #[default]
    BucketDefault,
    /// SSE-S3.
    Aes256,
    /// SSE-KMS.
    Kms {
        /// Key identifier or ARN; None is the account's default key for S3.
        key_id: Option<String>,
    },
}

/// Everything about S3 that is not the name of the object.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// `http://` or `https://` and host, optionally port; None is AWS.
    pub endpoint_url: Option<String>,
    /// None is us-east-1.
    pub region: Option<String>,
    /// How requests name the bucket.
    pub addressing: Addressing,
    /// What requests are signed with.
    pub credentials: Credentials,
    /// The caller pays for the requests (sent with every one of them).
    pub request_payer: bool,
    /// 12-digit account that must own the bucket (checked by S3 at every request).
    pub expected_bucket_owner: Option<String>,
    /// PEM file of certificate authorities, instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Requests in flight at once, each on its own connection.
    pub max_in_flight: u16,
    /// Network interfaces over which connections are spread, by the kernel's names; none: as its routes say.
    pub network_interfaces: Vec<String>,
    /// Bytes the S3 client may use for parts; None: as many as the requests in flight need. At least 256 MiB.
    pub memory_limit: Option<u64>,
    /// Attempts after the first one of a request that failed for a reason that may pass.
    pub max_retries: usize,
    /// How long a read or a write may wait without result.
    pub stall_timeout: Duration,
    /// Counts requests that failed and were sent again; clones count together.
    pub repeated: Arc<AtomicU64>,
    /// Hears of attempts that failed ([`crate::observe::Event::AttemptFailed`]).
    pub events: Events,
    /// Ends the wait for an answer that is not part of a pipeline (opening an archive, reading its directory), and uploads.
    pub stop: Arc<StopFlag>,

    /// Size in bytes of the parts of an upload; see [`super::upload_part_size`].
    pub part_size: u64,
    /// Send a CRC32C with every part. Off only for servers that do not understand checksum trailers.
    pub upload_checksums: bool,
    /// Of a new object at rest.
    pub encryption: Encryption,
    /// For example `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Object tags, name and value.
    pub tags: Vec<(String, String)>,
}

impl Default for S3Options {
    fn default() -> Self {
        S3Options {
            endpoint_url: None,
            region: None,
            addressing: Addressing::Auto,
            credentials: Credentials::DefaultChain,
            request_payer: false,
            expected_bucket_owner: None,
            ca_bundle: None,
            max_in_flight: 16,
            network_interfaces: Vec::new(),
            memory_limit: None,
            max_retries: 8,
            stall_timeout: Duration::from_secs(60),
            repeated: Arc::default(),
            events: Events::unheard(),
            stop: Arc::default(),
            part_size: 8 << 20,
            upload_checksums: true,
            encryption: Encryption::BucketDefault,
            storage_class: None,
            tags: Vec::new(),
        }
    }
}
