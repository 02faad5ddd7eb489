//! The environment variables and the profile file that all AWS tools share.

use std::env;
use std::path::PathBuf;

use super::{Credentials, S3Options};
use crate::ec2::imds::Service;
use crate::error::{Error, Kind, Result};

impl S3Options {
    /// Options from AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, AWS_CA_BUNDLE, AWS_MAX_ATTEMPTS
    /// and, for endpoint, region and attempts, the profile in AWS_CONFIG_FILE or `~/.aws/config`. `profile` is the
    /// caller's choice; it also decides the credentials, while AWS_PROFILE leaves these to the usual chain.
    ///
    /// The fields may as well be filled in by the caller: nothing else looks at the environment, but aws-c-s3 for credentials
    /// ([`Credentials::DefaultChain`]). Call [`S3Options::find_region`] after whatever may set a region.
    pub fn from_environment(profile: Option<&str>) -> Result<S3Options> {
        let section =
            profile.map(str::to_owned).or_else(|| variable("AWS_PROFILE")).or_else(|| variable("AWS_DEFAULT_PROFILE"));
        let settings = Profile::load(section.as_deref())?;
        let ignore_endpoints =
            variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let mut options = S3Options {
            region: variable("AWS_REGION")
                .or_else(|| variable("AWS_DEFAULT_REGION"))
                .or_else(|| settings.get("region")),
            ca_bundle: variable("AWS_CA_BUNDLE").or_else(|| settings.get("ca_bundle")).map(PathBuf::from),
            ..S3Options::default()
        };
        if let Some(attempts) = variable("AWS_MAX_ATTEMPTS").or_else(|| settings.get("max_attempts")) {
            options.max_retries = match attempts.parse::<u16>() {
                Ok(attempts @ 1..=63) => usize::from(attempts) - 1,
                _ => {
                    let message = format!("AWS_MAX_ATTEMPTS (max_attempts) is {attempts:?}: it must be 1 to 63");
                    return Err(Error::new(Kind::Usage, message));
                }
            };
        }
        if !ignore_endpoints {
            options.endpoint_url = variable("AWS_ENDPOINT_URL_S3")
                .or_else(|| variable("AWS_ENDPOINT_URL"))
                .or_else(|| settings.get("endpoint_url"));
        }
        if let Some(profile) = profile {
            options.credentials = Credentials::Profile(profile.to_owned());
        }
        Ok(options)
    }

    /// Fills in the region if nothing gave one and it matters: on EC2 the instance's own region,
    /// else us-east-1.
    pub fn find_region(&mut self) {
        if self.region.is_none() && self.endpoint_url.is_none() {
            self.region = Service::from_environment().identity().ok().map(|identity| identity.region);
        }
        self.region.get_or_insert_with(|| "us-east-1".to_owned());
    }
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|v| !v.is_empty())
}

/// One section of the profile file.
struct Profile(Option<ini::Properties>);

impl Profile {
    fn load(name: Option<&str>) -> Result<Profile> {
        let named = variable("AWS_CONFIG_FILE").map(PathBuf::from);
        let path = named.or_else(|| env::home_dir().map(|home| home.join(".aws/config")));
        let Some(path) = path.filter(|p| p.exists()) else {
            return Ok(Profile(None));
        };
        // Backslashes are ordinary characters in these files.
        let options = ini::ParseOption { enabled_escape: false, enabled_quote: false, ..ini::ParseOption::default() };
        let file = ini::Ini::load_from_file_opt(&path, options)
            .map_err(|e| Error::new(Kind::Usage, format!("{}: not a profile file: {e}", path.display())))?;
        let name = name.unwrap_or("default");
        let section = file
            .section(Some(format!("profile {name}")))
            // `[default]` stands without the word "profile".
            .or_else(|| file.section(Some(name)).filter(|_| name == "default"));
        Ok(Profile(section.cloned()))
    }

    fn get(&self, name: &str) -> Option<String> {
        let value = self.0.as_ref()?.get(name)?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}
