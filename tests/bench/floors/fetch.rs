//! What a plain client of aws-c-s3 does: fetch ENDPOINT PATH LENGTH IN_FLIGHT EVENT_LOOPS [SOCKET_READ [REQUEST_MIB]]
//!
//! Gets an object in ranges of REQUEST_MIB (8), IN_FLIGHT at a time, and drops what comes. EVENT_LOOPS 0 is what the
//! library chooses, SOCKET_READ is how many bytes it reads from a socket at once (16384). Prints JSON: wall seconds from the first request to the last byte, CPU seconds from the start until then.
//! Shares no code with the program.

#![allow(unsafe_code)]

use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use mountpoint_s3_crt::auth::credentials::CredentialsProvider;
use mountpoint_s3_crt::auth::signing_config::SigningAlgorithm;
use mountpoint_s3_crt::common::allocator::Allocator;
use mountpoint_s3_crt::common::uri::Uri;
use mountpoint_s3_crt::http::request_response::{Header, Message};
use mountpoint_s3_crt::io::channel_bootstrap::{ClientBootstrap, ClientBootstrapOptions};
use mountpoint_s3_crt::io::event_loop::EventLoopGroup;
use mountpoint_s3_crt::io::host_resolver::{HostResolver, HostResolverDefaultOptions};
use mountpoint_s3_crt::s3::client::{Client, ClientConfig, MetaRequestOptions, MetaRequestType, init_signing_config};
use nix::sys::resource::{UsageWho, getrusage};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const REGION: &str = "us-east-1";

/// The bytes that came, or why not.
type Done = std::result::Result<u64, String>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, endpoint, path, length, in_flight, event_loops, options @ ..] = arguments.as_slice() else {
        return Err("fetch ENDPOINT PATH LENGTH IN_FLIGHT EVENT_LOOPS [SOCKET_READ [REQUEST_MIB]]".into());
    };
    if let Some(bytes) = options.first() {
        let bytes = bytes.parse()?;
        // SAFETY: a C global of the library, written before anything of it runs.
        unsafe { mountpoint_s3_crt_sys::g_aws_channel_max_fragment_size = bytes };
    }
    let part: u64 = options.get(1).map_or(Ok(8), |mib| mib.parse())? << 20;
    let (length, in_flight): (u64, u32) = (length.parse()?, in_flight.parse()?);
    let allocator = Allocator::default();
    let loops = Some(event_loops.parse()?).filter(|&loops| loops > 0);
    let mut event_loops = EventLoopGroup::new_default(&allocator, loops, || {})?;
    let resolver = HostResolverDefaultOptions { max_entries: 8, event_loop_group: &mut event_loops };
    let mut resolver = HostResolver::new_default(&allocator, &resolver)?;
    let bootstrap = ClientBootstrapOptions { event_loop_group: &mut event_loops, host_resolver: &mut resolver };
    let mut config = ClientConfig::new();
    config
        .region(REGION)
        .client_bootstrap(ClientBootstrap::new(&allocator, &bootstrap)?)
        .part_size(part as usize)
        // The library opens a connection for every 0.4 Gbit/s that it is told to aim at.
        .throughput_target_gbps(0.4 * f64::from(in_flight) + 0.1)
        .max_active_connections_override(in_flight)
        .memory_limit_in_bytes((128 << 20) + (2 * part * u64::from(in_flight)).max(128 << 20));
    let anonymous = CredentialsProvider::new_anonymous(&allocator)?;
    config.signing_config(init_signing_config(REGION, anonymous, Some(SigningAlgorithm::SigV4), None, Some(false)));
    let client = Client::new(&allocator, config)?;

    let begun = Instant::now();
    let (sender, receiver) = channel();
    let (mut next, mut flying, mut bytes) = (0, 0, 0);
    while next < length || flying > 0 {
        while next < length && flying < in_flight {
            let end = length.min(next + part);
            start(&client, &allocator, endpoint, path, next, end, sender.clone())?;
            (next, flying) = (end, flying + 1);
        }
        bytes += receiver.recv()??;
        flying -= 1;
    }
    if bytes != length {
        return Err(format!("{bytes} of {length} bytes came").into());
    }
    // Before the library ends its threads, for which it takes up to a second.
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let cpu = [usage.user_time(), usage.system_time()].map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6);
    println!(r#"{{"wall": {:.6}, "cpu": {:.6}}}"#, begun.elapsed().as_secs_f64(), cpu[0] + cpu[1]);
    Ok(())
}

fn start(
    client: &Client,
    allocator: &Allocator,
    endpoint: &str,
    path: &str,
    begin: u64,
    end: u64,
    done: Sender<Done>,
) -> Result<()> {
    let uri = Uri::new_from_str(allocator, endpoint)?;
    let mut message = Message::new_request(allocator)?;
    message.set_request_method("GET")?;
    message.set_request_path(path)?;
    let host = endpoint.split("://").nth(1).unwrap_or(endpoint);
    message.set_header(&Header::new("Host", host))?;
    message.set_header(&Header::new("Range", format!("bytes={begin}-{}", end - 1)))?;
    let mut options = MetaRequestOptions::new();
    options.message(message).endpoint(uri).operation_name("GetObject").part_size(end - begin);
    options.request_type(MetaRequestType::GetObject);
    let (count, counted) = channel();
    options.on_body(move |_, buffer| {
        let _ = count.send(buffer.len() as u64);
    });
    options.on_finish(move |result| {
        let came = counted.try_iter().sum();
        let _ = done.send(if result.is_err() { Err(format!("{result:?}")) } else { Ok(came) });
    });
    client.make_meta_request(options)?;
    Ok(())
}
