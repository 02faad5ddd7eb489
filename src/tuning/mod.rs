//! Which numbers a restore runs with: facts in, numbers out.
//!
//! ```text
//! facts (looks) ----\
//! instance_types ----+-> policy (decides) -> Tuning: each number with where it is from and why
//! settings (given) -/
//! ```
//!
//! What a person set wins over what was detected, and that over defaults. On a machine that is not an EC2 instance, with
//! nothing set, the result is one worker per CPU and 16 requests of 8 MiB.

pub mod facts;
pub mod instance_types;
pub mod level;
pub mod policy;
pub mod settings;

pub use facts::{Facts, Roots};
pub use policy::Tuning;
pub use settings::Settings;
