//! What EC2 says about the instance this runs on: its metadata service, and its API (which only a build with the feature
//! `ec2` asks).

pub mod api;
#[cfg(feature = "ec2")]
mod client;
pub mod imds;
pub mod instance_type;

pub use instance_type::InstanceType;
