//! The exit codes, as the help shows them. Their numbers are in [`crate::error::Kind::exit_code`].

pub const HELP: &str = "\
Exit codes:
   0  done
   1  failure of another kind (I/O error, broken pipe)
   2  wrong usage
  10  object, bucket, file or directory not found
  11  access denied (credentials, permissions, archived storage class)
  12  the object changed while it was read
  13  not a BURST archive, or a damaged one
  14  unsafe entry (would leave the target, or cannot exist there)
  15  no space left, or over quota
  16  no progress within the time allowed
  17  not supported by this kernel, file system or server
  18  service unavailable after retries
  19  target not empty or in use, or destination exists
  20  the source changed while it was read
  21  a restore is incomplete
  130, 143  interrupted (SIGINT, SIGTERM)";
