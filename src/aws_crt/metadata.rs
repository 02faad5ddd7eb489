//! The EC2 instance metadata service (IMDSv2), asked through the CRT.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use mountpoint_s3_crt::auth::imds_client::{ImdsClient, ImdsClientConfig};
use mountpoint_s3_crt::common::allocator::Allocator;

use super::client::Runtime;

/// The region of the EC2 instance this runs on; None when it is not one, or does not tell in time.
pub fn region(limit: Duration) -> Option<String> {
    let document = resource("/latest/dynamic/instance-identity/document", limit)?;
    // Whatever answers on a network without the service is not an identity document.
    let document: serde_json::Value = serde_json::from_str(&document).ok()?;
    let region = document.get("region")?.as_str()?;
    let plausible = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (plausible && !region.is_empty()).then(|| region.to_owned())
}

fn resource(path: &str, limit: Duration) -> Option<String> {
    let allocator = Allocator::default();
    let runtime = Runtime::new(&allocator).ok()?;
    let mut config = ImdsClientConfig::new();
    config.client_bootstrap(runtime.bootstrap.clone());
    let client = ImdsClient::new(&allocator, config).ok()?;
    let (send, receive) = sync_channel(1);
    client
        .get_resource(path, move |result| {
            let _ = send.send(result.ok());
        })
        .ok()?;
    receive.recv_timeout(limit).ok().flatten()
}
