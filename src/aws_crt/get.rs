//! Reading an object: its tail when it is opened, then ranges, each as one request.

use std::ops::Range;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};

use mountpoint_s3_crt::s3::client::{MetaRequestOptions, MetaRequestType, RequestMetrics};

use super::again;
use super::client::{Client, Piece, Reply, lock};
use super::failure::{Doing, Failure, is_tls};
use crate::error::{Error, Kind, Result};
use crate::store::{Bytes, Deliver, TAIL_BYTES};

/// One version of one object.
pub struct Object {
    /// For messages.
    pub name: String,
    pub key: String,
    pub version: Option<String>,
    /// As the server sent it, with quotes. Empty only for an empty object.
    pub etag: String,
    pub len: u64,
    /// The last bytes of the object, at most [`TAIL_BYTES`].
    pub tail: Vec<u8>,
}

/// Opens an object with a single request: a range from the end gives length, ETag and tail at once.
/// A server that cannot do that, or takes the range for another, is asked twice, first with HEAD.
///
/// A server that ignores such ranges sends the whole object, which is then held in memory while it
/// arrives; S3 and the servers we know do not.
pub fn open(client: &Arc<Client>, name: &str, key: &str, version: Option<&str>) -> Result<Arc<Object>> {
    let asked = Asked { method: "GET", key, version, headers: &[("Range", &format!("bytes=-{TAIL_BYTES}"))] };
    let object = |etag, len, tail| {
        Arc::new(Object {
            name: name.to_owned(),
            key: key.to_owned(),
            version: version.map(str::to_owned),
            etag,
            len,
            tail,
        })
    };
    let reply = match wait(client, name, &asked, true)? {
        Outcome::Reply(reply) => reply,
        // There is no last byte in an empty object.
        Outcome::Failure(failure) if failure.status == 416 && is_empty(&failure) => {
            return Ok(object(String::new(), 0, Vec::new()));
        }
        Outcome::Failure(failure) if matches!(failure.status, 416 | 501) => {
            return open_with_head(client, object, name, key, version);
        }
        Outcome::Failure(failure) => {
            return Err(failure.into_error(name, client.host(), Doing::Read));
        }
        // Some servers fail when the object is shorter than the range.
        Outcome::ServerError => return open_with_head(client, object, name, key, version),
    };
    let odd = |what: &str| Error::new(Kind::Unsupported, format!("{name}: the server {what}"));
    let etag = reply.header("ETag").unwrap_or_default();
    let header = reply.header("Content-Range");
    let mut tail = join(reply.body);
    let held = tail.len() as u64;
    let len = match reply.status {
        200 => {
            tail.drain(..tail.len().saturating_sub(TAIL_BYTES as usize));
            held
        }
        206 => {
            let (range, total) =
                header.as_deref().and_then(content_range).ok_or_else(|| odd("sent no usable Content-Range header"))?;
            let whole = range.end == total && range.end.checked_sub(range.start) == Some(held);
            if !whole || held != total.min(TAIL_BYTES) {
                return open_with_head(client, object, name, key, version);
            }
            total
        }
        status => {
            return Err(odd(&format!("answered a range request with status {status}")));
        }
    };
    if etag.is_empty() && len > 0 {
        return Err(odd("sends no ETag, so that a change could not be noticed"));
    }
    Ok(object(etag, len, tail))
}

fn open_with_head(
    client: &Arc<Client>,
    object: impl Fn(String, u64, Vec<u8>) -> Arc<Object>,
    name: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Arc<Object>> {
    let asked = Asked { method: "HEAD", key, version, headers: &[] };
    let reply = match wait(client, name, &asked, false)? {
        Outcome::Reply(reply) => reply,
        Outcome::Failure(failure) => {
            return Err(failure.into_error(name, client.host(), Doing::Read));
        }
        Outcome::ServerError => return Err(client.no_answer(name)),
    };
    let odd = |what: &str| Error::new(Kind::Unsupported, format!("{name}: the server {what}"));
    let len = reply.header("Content-Length").and_then(|l| l.parse().ok());
    let len: u64 = len.ok_or_else(|| odd("does not tell the length of the object"))?;
    let etag = reply.header("ETag").unwrap_or_default();
    if etag.is_empty() && len > 0 {
        return Err(odd("sends no ETag, so that a change could not be noticed"));
    }
    let found = object(etag.clone(), len, Vec::new());
    let tail = read(client, &found, len.saturating_sub(TAIL_BYTES)..len)?;
    Ok(object(etag, len, (*tail).as_ref().to_vec()))
}

/// `Content-Range: bytes */0`, or no such header at all.
fn is_empty(failure: &Failure) -> bool {
    match failure.content_range.as_deref() {
        Some(range) => range.trim() == "bytes */0",
        None => true,
    }
}

/// Whether an object of this name exists. None: the server does not tell this caller.
pub fn exists(client: &Arc<Client>, name: &str, key: &str) -> Result<Option<bool>> {
    match wait(client, name, &Asked { method: "HEAD", key, version: None, headers: &[] }, false)? {
        Outcome::Reply(_) => Ok(Some(true)),
        Outcome::Failure(failure) if failure.status == 404 => Ok(Some(false)),
        // A caller who may write but not list or read gets this for any name.
        Outcome::Failure(failure) if failure.status == 403 => Ok(None),
        Outcome::Failure(failure) => Err(failure.into_error(name, client.host(), Doing::Read)),
        Outcome::ServerError => Err(client.no_answer(name)),
    }
}

/// An object as it is found by its name.
pub(super) struct Seen {
    pub len: u64,
    etag: String,
    /// As the server sends it; of an object that was uploaded in parts "CHECKSUM-PARTS".
    pub crc32c: Option<String>,
}

impl Seen {
    /// To read this version of it.
    pub fn object(&self, name: &str, key: &str) -> Arc<Object> {
        let (name, key, etag) = (name.to_owned(), key.to_owned(), self.etag.clone());
        Arc::new(Object { name, key, version: None, etag, len: self.len, tail: Vec::new() })
    }
}

/// Looks at an object; None if there is none.
pub(super) fn look(client: &Arc<Client>, name: &str, key: &str) -> Result<Option<Seen>> {
    let asked = Asked { method: "HEAD", key, version: None, headers: &[("x-amz-checksum-mode", "ENABLED")] };
    match wait(client, name, &asked, false)? {
        Outcome::Reply(reply) => Ok(Some(Seen {
            len: reply.header("Content-Length").and_then(|len| len.parse().ok()).unwrap_or_default(),
            etag: reply.header("ETag").unwrap_or_default(),
            crc32c: reply.header("x-amz-checksum-crc32c"),
        })),
        Outcome::Failure(failure) if failure.status == 404 => Ok(None),
        Outcome::Failure(failure) => Err(failure.into_error(name, client.host(), Doing::Read)),
        Outcome::ServerError => Err(client.no_answer(name)),
    }
}

/// Gets `range` of the object and waits for it.
pub fn read(client: &Arc<Client>, object: &Arc<Object>, range: Range<u64>) -> Result<Bytes> {
    let (send, receive) = sync_channel(1);
    let deliver = Box::new(move |result| {
        // Nobody waits any more after a timeout.
        let _ = send.send(result);
    });
    let cancel = start(client, object, range, deliver);
    client.answer(&receive, &object.name).unwrap_or_else(|error| {
        cancel();
        Err(error)
    })
}

/// Gets `range` of the object as one request; `deliver` gets the client's own buffer. Returns a function
/// that gives up on the request.
pub fn start(client: &Arc<Client>, object: &Arc<Object>, range: Range<u64>, deliver: Deliver) -> Cancel {
    let deliver = Arc::new(Mutex::new(Some(deliver)));
    let give = {
        let deliver = deliver.clone();
        move |result: Result<Bytes>| {
            let deliver = lock(&deliver).take();
            if let Some(deliver) = deliver {
                deliver(result);
            }
        }
    };
    if range.is_empty() {
        give(Ok(Box::new(Vec::new())));
        return Box::new(|| ());
    }
    match request_range(client, object, range, give.clone()) {
        Ok(cancel) => cancel,
        Err(error) => {
            give(Err(error));
            Box::new(|| ())
        }
    }
}

/// Gives up on a request.
pub type Cancel = Box<dyn FnOnce() + Send>;

fn request_range(
    client: &Arc<Client>,
    object: &Arc<Object>,
    range: Range<u64>,
    give: impl FnOnce(Result<Bytes>) + Send + 'static,
) -> Result<Cancel> {
    // A Range header's end is inclusive.
    let wanted = format!("bytes={}-{}", range.start, range.end - 1);
    let (asked, size) = (object.clone(), range.end - range.start);
    let make = move |client: &Client| {
        let mut headers = vec![("Range", wanted.as_str())];
        // A weak ETag never matches; the response's ETag is compared in any case.
        if !asked.etag.starts_with("W/") {
            headers.push(("If-Match", &asked.etag));
        }
        let mut options = client.request("GET", &asked.key, asked.version.as_deref(), &headers)?;
        options.operation_name("GetObject");
        // As large as the range: the CRT would split it into several requests otherwise.
        options.part_size(size);
        Ok(options)
    };
    let (object, host) = (object.clone(), client.host().to_owned());
    let done = move |result: std::result::Result<Reply, Failure>| {
        give(match result {
            Ok(reply) => check(reply, &object, &range),
            Err(failure) => Err(failure.into_error(&of(&object.name, &range), &host, Doing::Read)),
        });
    };
    let id = again::send(client, MetaRequestType::GetObject, make, |_| (), done)?;
    let client = Arc::downgrade(client);
    Ok(Box::new(move || {
        if let Some(client) = client.upgrade() {
            client.cancel(id);
        }
    }))
}

/// A range of an object, for messages. Its last byte is named, as in a Range header.
fn of(name: &str, range: &Range<u64>) -> String {
    format!("{name}: bytes {}-{}", range.start, range.end.saturating_sub(1))
}

/// The response must be about this version of the object and hold exactly this range.
fn check(mut reply: Reply, object: &Object, range: &Range<u64>) -> Result<Bytes> {
    let wrong = |kind, what: String| Err(Error::new(kind, format!("{}: {what}", of(&object.name, range))));
    if let Some(etag) = reply.header("ETag")
        && etag != object.etag
    {
        let what = format!("the object was replaced while it was read (ETag {etag})");
        return wrong(Kind::ObjectChanged, what);
    }
    match reply.header("Content-Range").as_deref().map(content_range) {
        Some(Some((got, total))) if got == *range && total == object.len => {}
        Some(Some((_, total))) if total != object.len => {
            let what = format!("the object was replaced while it was read ({total} bytes now)");
            return wrong(Kind::ObjectChanged, what);
        }
        // The CRT drops the header when the range is the whole object.
        None if *range == (0..object.len) => {}
        _ => {
            let got = reply.header("Content-Range").unwrap_or_else(|| "no Content-Range header".into());
            let what = format!("the server sent another range than was asked for ({got})");
            return wrong(Kind::Unsupported, what);
        }
    }
    let piece = match reply.body.len() {
        1 => reply.body.pop().unwrap_or(Piece::Copy(Vec::new())),
        _ => Piece::Copy(join(reply.body)),
    };
    let got = piece.as_ref().len() as u64;
    if got != range.end - range.start {
        return wrong(Kind::Unavailable, format!("only {got} bytes arrived"));
    }
    Ok(Box::new(piece))
}

enum Outcome {
    Reply(Reply),
    Failure(Failure),
    /// Status 500 at the first attempt.
    ServerError,
}

/// A request about an object.
struct Asked<'a> {
    method: &'static str,
    key: &'a str,
    version: Option<&'a str>,
    headers: &'a [(&'static str, &'a str)],
}

impl Asked<'_> {
    /// To be made on other threads, and again.
    fn maker(&self) -> impl Fn(&Client) -> Result<MetaRequestOptions> + Send + Sync + 'static {
        let (method, key, version) = (self.method, self.key.to_owned(), self.version.map(str::to_owned));
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        move |client| {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut options = client.request(method, &key, version.as_deref(), &headers)?;
            options.operation_name(if method == "HEAD" { "HeadObject" } else { "GetObject" });
            Ok(options)
        }
    }
}

/// Sends a request that is not split, and waits for its end; on request only until a first status 500.
fn wait(client: &Arc<Client>, name: &str, asked: &Asked<'_>, stop_at_500: bool) -> Result<Outcome> {
    let (send, receive) = channel();
    let ended = send.clone();
    // Called at the end of every attempt. Nobody listens any more after a timeout.
    let attempt = move |attempt: &RequestMetrics| {
        if is_tls(attempt.error().raw_error()) {
            let _ = send.send(Outcome::Failure(Failure::of_attempt(attempt.error())));
        } else if stop_at_500 && attempt.status_code() == Some(500) {
            let _ = send.send(Outcome::ServerError);
        }
    };
    let id = again::send(client, MetaRequestType::Default, asked.maker(), attempt, move |result| {
        let _ = ended.send(match result {
            Ok(reply) => Outcome::Reply(reply),
            Err(failure) => Outcome::Failure(failure),
        });
    })?;
    let outcome = client.answer(&receive, name);
    // Does nothing to a request that has ended.
    client.cancel(id);
    outcome
}

fn join(pieces: Vec<Piece>) -> Vec<u8> {
    let mut all = Vec::with_capacity(pieces.iter().map(|p| p.as_ref().len()).sum());
    for piece in &pieces {
        all.extend_from_slice(piece.as_ref());
    }
    all
}

/// `bytes FIRST-LAST/TOTAL` as a range and the total.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    Some((first.parse().ok()?..end, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn parses_content_range() {
        assert_eq!(content_range("bytes 5-9/20"), Some((5..10, 20)));
        for bad in ["", "bytes */0", "bytes 5-/20", "bytes 5-18446744073709551615/20", "5-9/20", "bytes 5-9/*"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
