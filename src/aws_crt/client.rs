//! The S3 client: threads, name resolution, TLS, credentials, retries, and the requests under way.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use mountpoint_s3_crt::auth::credentials::{
    CredentialsProvider, CredentialsProviderChainDefaultOptions, CredentialsProviderProfileOptions,
    CredentialsProviderStaticOptions,
};
use mountpoint_s3_crt::auth::signing_config::SigningAlgorithm;
use mountpoint_s3_crt::common::allocator::Allocator;
use mountpoint_s3_crt::common::error::Error as CrtError;
use mountpoint_s3_crt::http::request_response::{Header, Headers, Message};
use mountpoint_s3_crt::io::channel_bootstrap::{ClientBootstrap, ClientBootstrapOptions};
use mountpoint_s3_crt::io::event_loop::EventLoopGroup;
use mountpoint_s3_crt::io::host_resolver::{HostResolver, HostResolverDefaultOptions};
use mountpoint_s3_crt::io::retry_strategy::{ExponentialBackoffJitterMode, RetryStrategy, StandardRetryOptions};
use mountpoint_s3_crt::io::tls::{TlsConnectionOptions, TlsContext, TlsContextOptions};
use mountpoint_s3_crt::s3::buffer::OwnedBuffer;
use mountpoint_s3_crt::s3::client::{
    Client as CrtClient, ClientConfig, MetaRequest, MetaRequestOptions, MetaRequestType, RequestMetrics,
    init_signing_config,
};
use mountpoint_s3_crt::s3::pool::{CrtBufferPoolFactory, MemoryPoolFactoryWrapper};
use mountpoint_s3_crt_sys::aws_s3_errors;
use tracing::info;

use super::address::{Address, encode_key};
use super::failure::Failure;
use super::pool::BufferPool;
use crate::error::{Error, Kind, Result};
use crate::observe::{Event, Events};
use crate::stop::{StopFlag, check_stop};
use crate::store::{Credentials, S3Options};

/// Size of one part of a restore, and of the client's pooled buffers.
const PART: u64 = 8 << 20;

const MIB: u64 = 1 << 20;

/// The error of requests that we gave up ourselves.
const CANCELED: i32 = aws_s3_errors::AWS_ERROR_S3_CANCELED as i32;

/// First wait before a retry; doubled each time, with full jitter, by the CRT.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The CRT waits no longer than this, whatever the doubling comes to.
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);

/// The longest wait after this attempt, counted from 1.
pub(super) fn longest_backoff(attempt: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16) as u32;
    (FIRST_BACKOFF * (1 << doublings)).min(LONGEST_BACKOFF)
}

/// How soon a wait ends when the run is told to stop.
pub(super) const STOP_TICK: Duration = Duration::from_millis(100);

/// What a client is for: uploads need other bounds on memory than downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Download,
    Upload,
}

/// A client for one bucket. Dropping it cancels what is under way and lets the CRT's threads end, so that
/// the process can exit at once (a client that is alive at exit costs a second).
pub struct Client {
    s3: CrtClient,
    allocator: Allocator,
    address: Address,
    /// Sent with every request.
    headers: Vec<(String, String)>,
    under_way: Arc<UnderWay>,
    stall_timeout: Duration,
    stop: Arc<StopFlag>,
    connections: u16,
    max_retries: u64,
    repeated: Arc<AtomicU64>,
    events: Events,
    /// For what waits without a thread.
    event_loops: EventLoopGroup,
}

impl Client {
    pub fn connect(bucket: &str, options: &S3Options, purpose: Purpose) -> Result<Client> {
        let allocator = Allocator::default();
        let region = options.region.as_deref().unwrap_or("us-east-1");
        let address = Address::resolve(&allocator, bucket, region, options)?;
        let broken = |what: &'static str| move |e: CrtError| start_failed(what, e);

        let mut runtime = Runtime::new(&allocator)?;
        let retry_strategy = {
            let mut retry = StandardRetryOptions::default(&mut runtime.event_loops);
            retry.backoff_retry_options.max_retries = options.max_retries;
            retry.backoff_retry_options.backoff_scale_factor = FIRST_BACKOFF;
            retry.backoff_retry_options.jitter_mode = ExponentialBackoffJitterMode::Full;
            RetryStrategy::standard(&allocator, &retry).map_err(broken("the retry strategy"))?
        };
        let tls = match &options.ca_bundle {
            Some(path) => Some(tls_context(&allocator, path)?),
            None => None,
        };

        let connections = connections(options, purpose);
        let mut config = ClientConfig::new();
        config
            .region(region)
            .client_bootstrap(runtime.bootstrap.clone())
            .retry_strategy(retry_strategy)
            .part_size(PART as usize)
            // The CRT derives connections from the throughput it is told to aim at (0.4 Gbit/s each),
            // and the override only caps them: aim high enough, then cap.
            .throughput_target_gbps(0.4 * f64::from(connections) + 0.1)
            .max_active_connections_override(u32::from(connections))
            .memory_limit_in_bytes(memory_limit(options, purpose, connections));
        // Only the CRT's own pool keeps a limit that was stated.
        if purpose == Purpose::Download && options.memory_limit.is_none() {
            let pool = MemoryPoolFactoryWrapper::new(|_| BufferPool::new(PART as usize));
            config.buffer_pool_factory(CrtBufferPoolFactory::new(pool, runtime.event_loops.clone()));
        }
        if !options.network_interfaces.is_empty() {
            options.network_interfaces.iter().try_for_each(|name| interface_exists(name))?;
            config.network_interface_names(options.network_interfaces.clone());
        }
        if let Some(tls) = &tls {
            config.tls_connection_options(TlsConnectionOptions::new(tls));
        }
        let provider = credentials(&allocator, &mut runtime.bootstrap, tls.as_ref(), options)?;
        // S3 alone wants the path encoded once in the signature.
        let sig_v4 = Some(SigningAlgorithm::SigV4);
        config.signing_config(init_signing_config(region, provider, sig_v4, None, Some(false)));
        let s3 = CrtClient::new(&allocator, config).map_err(broken("the client"))?;

        let mut headers = Vec::new();
        if options.request_payer {
            headers.push(("x-amz-request-payer".to_owned(), "requester".to_owned()));
        }
        if let Some(owner) = &options.expected_bucket_owner {
            headers.push(("x-amz-expected-bucket-owner".to_owned(), owner.clone()));
        }
        Ok(Client {
            s3,
            allocator,
            address,
            headers,
            under_way: Arc::default(),
            stall_timeout: options.stall_timeout,
            stop: options.stop.clone(),
            repeated: options.repeated.clone(),
            events: options.events.clone(),
            connections,
            max_retries: options.max_retries as u64,
            event_loops: runtime.event_loops,
        })
    }

    /// Connections to the server, at most.
    pub(super) fn connections(&self) -> u64 {
        self.connections.into()
    }

    /// How long a caller may wait for a result before it gives up.
    pub fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// Waits for an answer about `name`: not longer than anybody should, and not when told to stop.
    pub(super) fn answer<T>(&self, receiver: &Receiver<T>, name: &str) -> Result<T> {
        let end = Instant::now() + self.stall_timeout;
        loop {
            self.check_stop()
                .map_err(|e| e.context(format_args!("{name}: waiting for an answer from {}", self.host())))?;
            let left = end.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left.min(STOP_TICK)) {
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                answer => return answer.map_err(|_| self.no_answer(name)),
            }
        }
    }

    /// An error when told to stop.
    pub(super) fn check_stop(&self) -> Result<()> {
        check_stop(&self.stop)
    }

    pub(super) fn no_answer(&self, name: &str) -> Error {
        let within = self.stall_timeout.as_secs_f32();
        Error::new(Kind::Deadline, format!("{name}: no answer from {} within {within} s", self.host()))
    }

    /// A request for one object, with the headers every request of this client carries.
    pub(super) fn request(
        &self,
        method: &str,
        key: &str,
        version: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<MetaRequestOptions> {
        let query = version.map(|version| format!("versionId={}", super::address::encode_query_value(version)));
        self.request_with_query(method, key, query.as_deref(), headers)
    }

    /// [`request`](Self::request) with a query that is encoded already.
    pub(super) fn request_with_query(
        &self,
        method: &str,
        key: &str,
        query: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<MetaRequestOptions> {
        let refused = |e: CrtError| {
            let message = format!("the request for {key} cannot be built: {e}");
            Error::new(Kind::Usage, message)
        };
        let mut path = format!("{}/{}", self.address.path, encode_key(key));
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        let mut message = Message::new_request(&self.allocator).map_err(refused)?;
        message.set_request_method(method).map_err(refused)?;
        message.set_request_path(&path).map_err(refused)?;
        let fixed = [
            ("Host", self.address.host.as_str()),
            ("Accept", "*/*"),
            ("User-Agent", concat!("burst/", env!("CARGO_PKG_VERSION"))),
        ];
        let every = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        for (name, value) in fixed.into_iter().chain(every).chain(headers.iter().copied()) {
            if value.bytes().any(|b| b < 0x20 || b == 0x7f) {
                let message = format!("{name}: {value:?} holds a control character");
                return Err(Error::new(Kind::Usage, message));
            }
            message.set_header(&Header::new(name, value)).map_err(refused)?;
        }
        let mut options = MetaRequestOptions::new();
        options.message(message);
        options.endpoint(self.address.endpoint.clone());
        Ok(options)
    }

    /// Sends a request; `attempt` is called at the end of every attempt, `done` once; both on threads of the CRT.
    pub(super) fn send(
        &self,
        options: MetaRequestOptions,
        request_type: MetaRequestType,
        attempt: impl Fn(&RequestMetrics) + Send + 'static,
        done: impl FnOnce(std::result::Result<Reply, Failure>) + Send + 'static,
    ) -> Result<(RequestId, MetaRequest)> {
        let (id, failed) = self.begin();
        let (under_way, repeated, seen) = (self.under_way.clone(), self.repeated.clone(), failed.clone());
        let done = move |result: std::result::Result<Reply, Failure>| {
            end(&under_way, &repeated, id, &seen, result.is_err());
            done(result);
        };
        match self.send_as(id, &failed, options, request_type, attempt, done) {
            Ok(request) => Ok((id, request)),
            Err(error) => {
                self.under_way.end(id);
                Err(error)
            }
        }
    }

    /// A number for a request that is sent by [`send_as`](Self::send_as), and the count of its attempts that failed.
    pub(super) fn begin(&self) -> (RequestId, Arc<AtomicU64>) {
        (self.under_way.begin(), Arc::default())
    }

    /// Nothing more is sent for this request.
    pub(super) fn end(&self, id: RequestId, failed: &AtomicU64, is_err: bool) {
        end(&self.under_way, &self.repeated, id, failed, is_err);
    }

    /// Whether a request has neither ended nor been given up.
    pub(super) fn is_under_way(&self, id: RequestId) -> bool {
        lock(&self.under_way.requests).contains_key(&id)
    }

    /// Attempts after the first one of a request.
    pub(super) fn max_retries(&self) -> u64 {
        self.max_retries
    }

    pub(super) fn event_loops(&self) -> &EventLoopGroup {
        &self.event_loops
    }

    /// [`send`](Self::send) of a request that may have been sent before.
    pub(super) fn send_as(
        &self,
        id: RequestId,
        failed: &Arc<AtomicU64>,
        mut options: MetaRequestOptions,
        request_type: MetaRequestType,
        attempt: impl Fn(&RequestMetrics) + Send + 'static,
        done: impl FnOnce(std::result::Result<Reply, Failure>) + Send + 'static,
    ) -> Result<MetaRequest> {
        let reply = Arc::new(Mutex::new(Reply::default()));
        options.request_type(request_type);
        let (on_headers, on_body) = (reply.clone(), reply.clone());
        options.on_headers(move |headers, status| {
            let mut reply = lock(&on_headers);
            reply.status = status;
            reply.headers = Some(headers.clone());
        });
        options.on_body(move |_, buffer| {
            // A buffer without a ticket is not from the pool and must be copied.
            let piece = match buffer.to_owned_buffer() {
                Some(owned) => Piece::Pool(owned),
                None => Piece::Copy(buffer.to_vec()),
            };
            lock(&on_body).body.push(piece);
        });
        let seen = failed.clone();
        let events = self.events.clone();
        options.on_telemetry(move |metrics| {
            if metrics.error().is_err() && metrics.error().raw_error() != CANCELED {
                let attempt = seen.fetch_add(1, Ordering::Relaxed) + 1;
                events.emit(Event::AttemptFailed);
                info!(
                    operation = metrics.operation_name(),
                    attempt,
                    cause = metrics.error().to_string(),
                    status = metrics.status_code(),
                    seconds_to_wait_at_most = longest_backoff(attempt).as_secs_f64(),
                    "an attempt failed; another follows unless it was the last"
                );
            }
            attempt(metrics);
        });
        options.on_finish(move |result| {
            if result.is_err() {
                done(Err(Failure::new(result)));
            } else {
                done(Ok(std::mem::take(&mut *lock(&reply))));
            }
        });
        let request = self.s3.make_meta_request(options).map_err(|e| start_failed("a request", e))?;
        self.under_way.attach(id, &request);
        Ok(request)
    }

    /// Gives up on a request; its callback still comes, with an error. Does nothing to one that has ended.
    pub(super) fn cancel(&self, id: RequestId) {
        self.under_way.cancel(id);
    }

    /// The endpoint in messages.
    pub(super) fn host(&self) -> &str {
        &self.address.host
    }
}

/// Counts a request that is over.
fn end(under_way: &UnderWay, repeated: &AtomicU64, id: RequestId, failed: &AtomicU64, is_err: bool) {
    under_way.end(id);
    // The last attempt of a request that failed was not followed by another.
    repeated.fetch_add(failed.load(Ordering::Relaxed).saturating_sub(u64::from(is_err)), Ordering::Relaxed);
}

impl Drop for Client {
    fn drop(&mut self) {
        self.under_way.cancel_all();
    }
}

/// What came back. For a ranged GET the body is one pool buffer.
#[derive(Default)]
pub(super) struct Reply {
    pub status: i32,
    pub headers: Option<Headers>,
    pub body: Vec<Piece>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<String> {
        header(self.headers.as_ref()?, name)
    }
}

pub(super) fn header(headers: &Headers, name: &str) -> Option<String> {
    headers.get_as_optional_string(name).ok().flatten()
}

pub(super) enum Piece {
    Pool(OwnedBuffer),
    Copy(Vec<u8>),
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        match self {
            Piece::Pool(buffer) => buffer,
            Piece::Copy(bytes) => bytes,
        }
    }
}

pub(super) type RequestId = u64;

/// Requests that have not finished, so that they can be cancelled: a request that is merely dropped
/// goes on to its end.
#[derive(Default)]
struct UnderWay {
    next: AtomicU64,
    requests: Mutex<HashMap<RequestId, Option<MetaRequest>>>,
}

impl UnderWay {
    fn begin(&self) -> RequestId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.requests).insert(id, None);
        id
    }

    /// The request may have finished already; then there is nothing to attach to.
    fn attach(&self, id: RequestId, request: &MetaRequest) {
        if let Some(slot) = lock(&self.requests).get_mut(&id) {
            *slot = Some(request.clone());
        }
    }

    fn end(&self, id: RequestId) {
        let ended = lock(&self.requests).remove(&id);
        // Released outside of the lock: the CRT may call back from here.
        drop(ended);
    }

    fn cancel(&self, id: RequestId) {
        // Taken out, so that one that waits to be sent again is not.
        let request = lock(&self.requests).remove(&id).flatten();
        if let Some(request) = request {
            request.cancel();
        }
    }

    fn cancel_all(&self) {
        let requests: Vec<_> = lock(&self.requests).values().flatten().cloned().collect();
        for request in requests {
            request.cancel();
        }
    }
}

/// A lock that a panic elsewhere cannot take away from us.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The CRT's threads and its connection set-up.
pub(super) struct Runtime {
    pub event_loops: EventLoopGroup,
    pub bootstrap: ClientBootstrap,
}

/// Bytes the CRT reads from a socket at once. Its own 16 KiB mean eight times the system calls and turns of the event
/// loop for the same data: a fifth of the CPU time of restoring one large file.
const SOCKET_READ: usize = 128 << 10;

fn read_more_at_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: writing a C global is sound while nothing else reads or writes it. The CRT reads it only on behalf of
        // channels; those need event loops, which are made in `Runtime::new` alone, after this.
        unsafe { mountpoint_s3_crt_sys::g_aws_channel_max_fragment_size = SOCKET_READ };
    });
}

impl Runtime {
    pub fn new(allocator: &Allocator) -> Result<Runtime> {
        read_more_at_once();
        let broken = |what: &'static str| move |e: CrtError| start_failed(what, e);
        let mut event_loops = EventLoopGroup::new_default(allocator, None, || {}).map_err(broken("the event loops"))?;
        let resolver_options = HostResolverDefaultOptions { max_entries: 8, event_loop_group: &mut event_loops };
        let mut host_resolver =
            HostResolver::new_default(allocator, &resolver_options).map_err(broken("the name resolver"))?;
        let bootstrap_options =
            ClientBootstrapOptions { event_loop_group: &mut event_loops, host_resolver: &mut host_resolver };
        let bootstrap = ClientBootstrap::new(allocator, &bootstrap_options).map_err(broken("the connection set-up"))?;
        Ok(Runtime { event_loops, bootstrap })
    }
}

fn tls_context(allocator: &Allocator, ca_bundle: &std::path::Path) -> Result<TlsContext> {
    let unusable = |e: &dyn std::fmt::Display| {
        let message =
            format!("{}: cannot be used as a bundle of certificate authorities (PEM): {e}", ca_bundle.display());
        Error::new(Kind::Usage, message)
    };
    // Read here first: the CRT's own message for a missing file names neither the file nor the reason.
    std::fs::File::open(ca_bundle).map_err(|e| unusable(&e))?;
    let mut options = TlsContextOptions::new_default_client(allocator);
    options.override_default_trust_store_from_path(None, Some(ca_bundle)).map_err(|e| unusable(&e))?;
    TlsContext::new(allocator, &options).map_err(|e| unusable(&e))
}

fn credentials(
    allocator: &Allocator,
    bootstrap: &mut ClientBootstrap,
    tls_ctx: Option<&TlsContext>,
    options: &S3Options,
) -> Result<CredentialsProvider> {
    let provider = match &options.credentials {
        Credentials::Anonymous => CredentialsProvider::new_anonymous(allocator),
        Credentials::Static { access_key_id, secret_access_key, session_token } => CredentialsProvider::new_static(
            allocator,
            CredentialsProviderStaticOptions {
                access_key_id,
                secret_access_key,
                session_token: session_token.as_deref(),
            },
        ),
        Credentials::Profile(name) => CredentialsProvider::new_profile(
            allocator,
            CredentialsProviderProfileOptions { bootstrap, profile_name_override: name, tls_ctx },
        ),
        Credentials::DefaultChain => CredentialsProvider::new_chain_default(
            allocator,
            CredentialsProviderChainDefaultOptions { bootstrap, tls_ctx },
        ),
    };
    provider.map_err(|e| {
        let what = match &options.credentials {
            Credentials::Profile(name) => format!("the credentials of the profile {name}"),
            _ => "the AWS credentials".to_owned(),
        };
        Error::new(Kind::Denied, format!("{what} cannot be used: {e}"))
            .with_hint("check ~/.aws/config and ~/.aws/credentials, or give the instance a role")
    })
}

/// Connections to open at most. An upload keeps a part in memory for each, which the client's memory limit does not
/// cover.
fn connections(options: &S3Options, purpose: Purpose) -> u16 {
    let wanted = options.max_in_flight.max(1);
    match purpose {
        Purpose::Download => wanted,
        Purpose::Upload => {
            let fit = (128 * MIB) / options.part_size.max(1);
            wanted.min(u16::try_from(fit).unwrap_or(u16::MAX).max(4))
        }
    }
}

fn memory_limit(options: &S3Options, purpose: Purpose, connections: u16) -> u64 {
    // The CRT keeps 128 MiB of the limit for itself and accepts no less than 256 MiB. Twice the parts
    // in flight: received ones are held until they are written.
    let part = match purpose {
        Purpose::Download => PART,
        Purpose::Upload => options.part_size,
    };
    let derived = 128 * MIB + 2 * u64::from(connections) * part;
    options.memory_limit.unwrap_or(derived).max(256 * MIB)
}

/// The CRT itself would tell neither which one is missing, nor that one is.
fn interface_exists(name: &str) -> Result<()> {
    let text = CString::new(name).unwrap_or_default();
    // SAFETY: a string that ends with a zero, which the call only reads.
    if unsafe { nix::libc::if_nametoindex(text.as_ptr()) } != 0 {
        return Ok(());
    }
    Err(Error::new(Kind::NotFound, format!("there is no network interface {name:?} (--network-interface)"))
        .with_hint("`ip link` lists them"))
}

fn start_failed(what: &str, error: CrtError) -> Error {
    Error::new(Kind::Failure, format!("cannot start {what} for S3: {error}"))
}
