//! An archive in an S3 object.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{ArchiveSink, ArchiveSource, Bytes, Deliver, S3Options, check_range};
use crate::aws_crt::{Client, Purpose, get, put};
use crate::error::{Error, Kind, Result};

/// Reads one version of an object by ranged GETs, each pinned to that version.
pub struct S3Source {
    version: String,
    object: Arc<get::Object>,
    client: Arc<Client>,
}

impl S3Source {
    /// Opens `key`, or an old version of it, with one request.
    pub fn open(bucket: &str, key: &str, version: Option<&str>, options: &S3Options) -> Result<S3Source> {
        let name = match version {
            Some(version) => format!("s3://{bucket}/{key}?versionId={version}"),
            None => format!("s3://{bucket}/{key}"),
        };
        let client = Arc::new(Client::connect(bucket, options, Purpose::Download)?);
        let object = get::open(&client, &name, key, version)?;
        Ok(S3Source { version: object.etag.trim_matches('"').to_owned(), object, client })
    }
}

impl ArchiveSource for S3Source {
    fn name(&self) -> &str {
        &self.object.name
    }

    fn len(&self) -> u64 {
        self.object.len
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn tail(&self) -> &[u8] {
        &self.object.tail
    }

    fn start(&self, range: Range<u64>, deliver: Deliver) {
        match check_range(&self.object.name, &range, self.object.len) {
            Ok(_) => drop(get::start(&self.client, &self.object, range, deliver)),
            Err(error) => deliver(Err(error)),
        }
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.client.stall_timeout())
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        check_range(&self.object.name, &range, self.object.len)?;
        get::read(&self.client, &self.object, range)
    }
}

/// Writes an object as a multipart upload: it is visible only when it is complete.
pub struct S3Sink {
    name: String,
    upload: put::Upload,
}

impl S3Sink {
    /// Begins an upload. Unless `overwrite`, an existing object is refused twice: now, before anything is
    /// sent, and again by the server when the upload completes.
    pub fn create(bucket: &str, key: &str, overwrite: bool, options: &S3Options) -> Result<S3Sink> {
        let name = format!("s3://{bucket}/{key}");
        let client = Arc::new(Client::connect(bucket, options, Purpose::Upload)?);
        if !overwrite && get::exists(&client, &name, key)? == Some(true) {
            let message = format!("{name} exists already: use --overwrite to replace it");
            return Err(Error::new(Kind::TargetInUse, message));
        }
        let upload = put::Upload::begin(client, &name, key, overwrite, options)?;
        Ok(S3Sink { name, upload })
    }
}

impl ArchiveSink for S3Sink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.upload.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.upload.finish()
    }
}
