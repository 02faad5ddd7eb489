//! `--level`: a number, or the one that suits the machine.

use super::pipeline_args::tuned_with;
use crate::error::Result;
use crate::snapshot::{DEFAULT_LEVEL, measure_level};
use crate::store::Location;
use crate::tuning::facts::Depth;
use crate::tuning::level::{CANDIDATES, Measured, choose};
use crate::tuning::{Roots, Settings};

/// What the command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelArg {
    Given(i32),
    Auto,
}

/// What is used.
#[derive(Debug, Clone)]
pub struct Level {
    pub value: i32,
    /// Set if it was chosen.
    pub reason: Option<String>,
}

pub fn parse(text: &str) -> std::result::Result<LevelArg, String> {
    if text == "auto" {
        return Ok(LevelArg::Auto);
    }
    let level = text.parse().ok().filter(|level| (-15..=15).contains(level));
    level.map(LevelArg::Given).ok_or_else(|| "a level is a number from -15 to 15, or auto".to_owned())
}

impl LevelArg {
    pub fn choose(self, location: &Location, network_gbps: Option<f64>, cpus: usize) -> Result<Level> {
        if let LevelArg::Given(value) = self {
            return Ok(Level { value, reason: None });
        }
        if !matches!(location, Location::S3 { .. }) {
            let reason = "the default: the archive does not go over a network that is known".to_owned();
            return Ok(Level { value: DEFAULT_LEVEL, reason: Some(reason) });
        }
        let flags = Settings { network_gbps, ..Settings::default() };
        let network = tuned_with(flags, &Roots::default(), Depth::Quick, None)?.tuning.network;
        let mut measured: Vec<Measured> = Vec::new();
        if network.is_some() {
            for level in CANDIDATES {
                let (speed, ratio) = measure_level(level)?;
                measured.push(Measured { level, speed, ratio });
            }
        }
        let choice = choose(&measured, cpus, network.as_ref(), DEFAULT_LEVEL);
        Ok(Level { value: choice.value, reason: Some(choice.reason) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(parse("auto"), Ok(LevelArg::Auto));
        assert_eq!(parse("-15"), Ok(LevelArg::Given(-15)));
        for bad in ["16", "-16", "", "x", "3.5"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
