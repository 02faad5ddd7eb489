//! What EC2 says about the instance this runs on.

pub mod imds;
