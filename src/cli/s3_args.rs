//! Flags for S3 that every command with a location has. A flag wins over the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::units;
use crate::error::Result;
#[cfg(feature = "s3")]
use crate::store::without_secrets;
use crate::store::{Addressing, Credentials, Location, S3Options};

/// Where requests go and who signs them; of credentials only where they come from.
#[cfg(feature = "s3")]
fn log(options: &S3Options) {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let credentials = match &options.credentials {
        Credentials::Anonymous => "none: requests are not signed".to_owned(),
        Credentials::Profile(name) => format!("the profile {name}"),
        Credentials::Static { .. } => "given".to_owned(),
        Credentials::DefaultChain if set("AWS_ACCESS_KEY_ID") && set("AWS_SECRET_ACCESS_KEY") => {
            "the environment".to_owned()
        }
        Credentials::DefaultChain => {
            "shared files, web identity, container or instance: the first that has any".to_owned()
        }
    };
    tracing::info!(
        endpoint = options.endpoint_url.as_deref().map_or("AWS".into(), without_secrets).as_ref(),
        region = options.region,
        credentials,
        addressing = ?options.addressing,
        ca_bundle = options.ca_bundle.as_ref().map(|path| tracing::field::display(path.display())),
        attempts = options.max_retries + 1,
        "S3"
    );
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum AddressingArg {
    /// Virtual host on AWS, path style on other endpoints.
    Auto,
    Path,
    Virtual,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "S3 options")]
pub struct S3Args {
    /// Endpoint of an S3-compatible server, for example http://127.0.0.1:9000 [env: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Region of the bucket [env: AWS_REGION, AWS_DEFAULT_REGION; else the profile, else the instance]
    #[arg(long)]
    region: Option<String>,
    /// How the bucket is named in requests
    #[arg(long, value_enum, default_value = "auto", value_name = "STYLE")]
    addressing: AddressingArg,
    /// Profile of the shared AWS configuration [env: AWS_PROFILE]
    #[arg(long)]
    profile: Option<String>,
    /// Do not sign requests (public buckets)
    #[arg(long, conflicts_with = "profile")]
    no_sign_request: bool,
    /// Agree to pay for requests to a requester-pays bucket
    #[arg(long)]
    request_payer: bool,
    /// Account id that must own the bucket
    #[arg(long, value_name = "ACCOUNT")]
    expected_bucket_owner: Option<String>,
    /// PEM file of certificate authorities [env: AWS_CA_BUNDLE]
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Time without any progress after which a request is given up
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = units::positive_duration)]
    stall_timeout: Duration,
}

impl S3Args {
    /// Flags over environment over defaults; only a location on S3 needs any of them.
    pub fn options(&self, location: &Location) -> Result<S3Options> {
        let mut options = match location {
            Location::S3 { .. } => self.environment()?,
            _ => S3Options::default(),
        };
        if let Some(url) = &self.endpoint_url {
            options.endpoint_url = Some(url.clone());
        }
        if let Some(region) = &self.region {
            options.region = Some(region.clone());
        }
        options.addressing = match self.addressing {
            AddressingArg::Auto => Addressing::Auto,
            AddressingArg::Path => Addressing::Path,
            AddressingArg::Virtual => Addressing::Virtual,
        };
        if self.no_sign_request {
            options.credentials = Credentials::Anonymous;
        }
        options.request_payer = self.request_payer;
        options.expected_bucket_owner = self.expected_bucket_owner.clone();
        if let Some(file) = &self.ca_bundle {
            options.ca_bundle = Some(file.clone());
        }
        options.stall_timeout = self.stall_timeout;
        #[cfg(feature = "s3")]
        if matches!(location, Location::S3 { .. }) {
            options.find_region();
            log(&options);
        }
        Ok(options)
    }

    #[cfg(feature = "s3")]
    fn environment(&self) -> Result<S3Options> {
        S3Options::from_environment(self.profile.as_deref())
    }

    #[cfg(not(feature = "s3"))]
    fn environment(&self) -> Result<S3Options> {
        Ok(S3Options::default())
    }
}
