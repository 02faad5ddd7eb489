//! Requests that a server refuses only for now, which the CRT takes for refused for good: they are sent again, with the
//! same waits and as often as it repeats others.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use mountpoint_s3_crt::io::event_loop::{EventLoop, EventLoopTimer};
use mountpoint_s3_crt::io::futures::FutureSpawner;
use mountpoint_s3_crt::s3::client::{MetaRequestOptions, MetaRequestType, RequestMetrics};

use super::client::{Client, Reply, RequestId, STOP_TICK, lock, longest_backoff};
use super::failure::Failure;
use crate::error::Result;

type Make = Box<dyn Fn(&Client) -> Result<MetaRequestOptions> + Send + Sync>;
type Attempt = Arc<dyn Fn(&RequestMetrics) + Send + Sync>;
type Done = Box<dyn FnOnce(std::result::Result<Reply, Failure>) + Send>;

/// A request that can be made anew.
struct Again {
    client: Weak<Client>,
    id: RequestId,
    /// Attempts that failed, of all that was sent for this request.
    failed: Arc<AtomicU64>,
    request_type: MetaRequestType,
    make: Make,
    attempt: Attempt,
    done: Mutex<Option<Done>>,
}

/// [`Client::send`] of what `make` makes, again while it is refused only for now.
pub(super) fn send(
    client: &Arc<Client>,
    request_type: MetaRequestType,
    make: impl Fn(&Client) -> Result<MetaRequestOptions> + Send + Sync + 'static,
    attempt: impl Fn(&RequestMetrics) + Send + Sync + 'static,
    done: impl FnOnce(std::result::Result<Reply, Failure>) + Send + 'static,
) -> Result<RequestId> {
    let (id, failed) = client.begin();
    let again = Arc::new(Again {
        client: Arc::downgrade(client),
        id,
        failed,
        request_type,
        make: Box::new(make),
        attempt: Arc::new(attempt),
        done: Mutex::new(Some(Box::new(done))),
    });
    again.send(client).inspect_err(|_| client.end(id, &again.failed, true))?;
    Ok(id)
}

impl Again {
    fn send(self: &Arc<Self>, client: &Client) -> Result<()> {
        let options = (self.make)(client)?;
        let (attempt, this) = (self.attempt.clone(), self.clone());
        let answered = move |result| this.answered(result);
        client.send_as(self.id, &self.failed, options, self.request_type, move |metrics| attempt(metrics), answered)?;
        Ok(())
    }

    fn answered(self: Arc<Self>, result: std::result::Result<Reply, Failure>) {
        let failed = self.failed.load(Ordering::Relaxed);
        let client = self.client.upgrade().filter(|client| failed <= client.max_retries());
        let event_loop = client.as_ref().and_then(|client| client.event_loops().get_next_loop().ok());
        match (result, client, event_loop) {
            (Err(failure), Some(client), Some(event_loop)) if failure.is_for_now() => {
                let later = self.later(event_loop, some_of(longest_backoff(failed)), failure);
                // Goes on without anybody waiting for it.
                drop(client.event_loops().spawn_future(later));
            }
            (result, ..) => self.end(result),
        }
    }

    /// Waits on an event loop of the CRT, whose threads must not be held up, and sends it again.
    async fn later(self: Arc<Self>, event_loop: EventLoop, wait: Duration, failure: Failure) {
        let end = Instant::now() + wait;
        loop {
            let wanted = self.client.upgrade().filter(|client| client.is_under_way(self.id));
            let Some(client) = wanted else { break };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                match self.send(&client) {
                    Ok(()) => return,
                    Err(_) => break,
                }
            }
            // The end of a run does not wait for this.
            drop(client);
            if EventLoopTimer::new(&event_loop, left.min(STOP_TICK)).await.is_err() {
                break;
            }
        }
        self.end(Err(failure));
    }

    fn end(&self, result: std::result::Result<Reply, Failure>) {
        if let Some(client) = self.client.upgrade() {
            client.end(self.id, &self.failed, result.is_err());
        }
        let done = lock(&self.done).take();
        if let Some(done) = done {
            done(result);
        }
    }
}

/// A random part of it, so that those who were refused together do not come again together.
fn some_of(longest: Duration) -> Duration {
    longest.mul_f64(RandomState::new().hash_one(0) as f64 / u64::MAX as f64)
}
