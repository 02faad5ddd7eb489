//! Flags for the object that a snapshot makes on S3.

use clap::{Args, ValueEnum};

use crate::error::{Error, Kind, Result};
use crate::store::{Encryption, S3Options};

#[derive(Debug, Args)]
#[command(next_help_heading = "S3 options")]
pub struct UploadArgs {
    /// Size of upload parts: 8, 16, 32, ... MiB [default: the smallest with which 10,000 parts suffice]
    #[arg(long, value_name = "MiB")]
    part_size: Option<u64>,
    /// Encrypt the object: aes256 or aws:kms [default: what the bucket says]
    #[arg(long, value_enum, value_name = "HOW")]
    sse: Option<SseArg>,
    /// Key for --sse aws:kms [default: the account's own]
    #[arg(long, value_name = "KEY")]
    sse_kms_key_id: Option<String>,
    /// Storage class, for example STANDARD_IA
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// Tag of the object; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_tag)]
    tag: Vec<(String, String)>,
    /// Send no CRC32C with the parts, for servers that do not know it
    #[arg(long)]
    no_checksum: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SseArg {
    Aes256,
    #[value(name = "aws:kms")]
    Kms,
}

impl UploadArgs {
    /// In bytes.
    pub fn part_size(&self) -> Option<u64> {
        self.part_size.map(|mib| mib.saturating_mul(1 << 20))
    }

    /// `options`, and what these flags say.
    pub fn options(&self, options: S3Options) -> Result<S3Options> {
        let encryption = match (self.sse, &self.sse_kms_key_id) {
            (None, None) => Encryption::BucketDefault,
            (Some(SseArg::Aes256), None) => Encryption::Aes256,
            (Some(SseArg::Kms), key_id) => Encryption::Kms { key_id: key_id.clone() },
            (_, Some(_)) => return Err(Error::new(Kind::Usage, "--sse-kms-key-id goes with --sse aws:kms")),
        };
        Ok(S3Options {
            encryption,
            upload_checksums: !self.no_checksum,
            storage_class: self.storage_class.clone(),
            tags: self.tag.clone(),
            ..options
        })
    }
}

fn parse_tag(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a tag is NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        assert_eq!(parse_tag("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(parse_tag("=b").is_err() && parse_tag("ab").is_err());
    }
}
