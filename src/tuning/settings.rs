//! What a person set, and which of several places wins: a flag, the environment (`BURST_*`), the configuration file.
//! What nobody set is detected, or has a default; that is [`policy`](super::policy).

use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// The configuration file, unless `BURST_CONFIG` names another one.
pub const CONFIG_FILE: &str = "/etc/burst/config.toml";

/// Where a value is from. The order is the precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Flag,
    Environment,
    ConfigFile,
    Detected,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::ConfigFile => "config file",
            Origin::Detected => "detected",
            Origin::Default => "default",
        })
    }
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what a person has to know.
    #[default]
    Warn,
    /// Decisions, too: -v.
    Info,
    /// Each part, too: -vv.
    Debug,
}

/// How lines on standard error look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// What one place sets. The names are the keys of the configuration file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Threads that check and write.
    pub workers: Option<u64>,
    /// Requests in flight, 1 to 4096.
    pub in_flight: Option<u64>,
    /// Size of one request in MiB: 8 * 2^k, at most 512.
    pub request_size_mib: Option<u64>,
    /// Memory to use at most, in MiB.
    pub memory_mib: Option<u64>,
    /// Speed of the network in Gbit/s, and of the disk in MB/s (10^6 bytes).
    pub network_gbps: Option<f64>,
    pub disk_mbps: Option<f64>,
    /// Network interfaces to use, by the kernel's names; their connections are spread over them.
    pub network_interfaces: Option<Vec<String>>,
    /// Whether to look at the instance type.
    pub detect: Option<bool>,
    pub log: Option<LogLevel>,
    pub log_format: Option<LogFormat>,
}

/// What all places together set; each value with the place that won.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Given {
    pub workers: Option<(u16, Origin)>,
    pub in_flight: Option<(u16, Origin)>,
    pub request_size_mib: Option<(u64, Origin)>,
    pub memory_mib: Option<(u64, Origin)>,
    pub network_gbps: Option<(f64, Origin)>,
    pub disk_mbps: Option<(f64, Origin)>,
    pub network_interfaces: Option<(Vec<String>, Origin)>,
    pub detect: Option<(bool, Origin)>,
    pub log: Option<(LogLevel, Origin)>,
    pub log_format: Option<(LogFormat, Origin)>,
}

/// Puts the three places together; the only code that knows which one wins. `config` is the file's name for messages.
pub fn layered(flags: Settings, environment: Settings, file: Settings, config: &Path) -> Result<Given> {
    let places = [(flags, Origin::Flag), (environment, Origin::Environment), (file, Origin::ConfigFile)];
    for (settings, origin) in &places {
        settings.check(*origin, config)?;
    }
    fn first<T>(places: &[(Settings, Origin); 3], field: impl Fn(&Settings) -> Option<T>) -> Option<(T, Origin)> {
        places.iter().find_map(|(settings, origin)| Some((field(settings)?, *origin)))
    }
    let small = |n: u64| u16::try_from(n).ok();
    Ok(Given {
        workers: first(&places, |s| s.workers.and_then(small)),
        in_flight: first(&places, |s| s.in_flight.and_then(small)),
        request_size_mib: first(&places, |s| s.request_size_mib),
        memory_mib: first(&places, |s| s.memory_mib),
        network_gbps: first(&places, |s| s.network_gbps),
        disk_mbps: first(&places, |s| s.disk_mbps),
        network_interfaces: first(&places, |s| s.network_interfaces.clone()),
        detect: first(&places, |s| s.detect),
        log: first(&places, |s| s.log),
        log_format: first(&places, |s| s.log_format),
    })
}

impl Settings {
    /// Reads the configuration file. If nobody named it, it need not exist.
    pub fn from_file(path: &Path, named: bool) -> Result<Settings> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => return Ok(Settings::default()),
            Err(e) => return Err(Error::io(format_args!("read {}", path.display()), e)),
        };
        toml::from_str(&text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            // Serde speaks of the types of Rust.
            let why = e
                .message()
                .replace("expected u64", "expected a whole number")
                .replace("expected f64", "expected a number");
            Error::new(Kind::Usage, format!("{}, line {line}: {why}", path.display()))
        })
    }

    /// Reads `BURST_WORKERS` and so on through `variable`; one that is empty is not set.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Settings> {
        let get = |name: &str| variable(&variable_name(name)).filter(|value| !value.is_empty());
        Ok(Settings {
            workers: number("workers", get)?,
            in_flight: number("in_flight", get)?,
            request_size_mib: number("request_size_mib", get)?,
            memory_mib: number("memory_mib", get)?,
            network_gbps: number("network_gbps", get)?,
            disk_mbps: number("disk_mbps", get)?,
            network_interfaces: get("network_interfaces")
                .map(|names| names.split(',').map(|n| n.trim().to_owned()).collect()),
            detect: parse("detect", get, "true or false", |text| text.parse().ok())?,
            log: parse("log", get, "warn, info or debug", word)?,
            log_format: parse("log_format", get, "text or json", word)?,
        })
    }

    fn check(&self, origin: Origin, config: &Path) -> Result<()> {
        let number = |name, value: Option<u64>, most| match value {
            Some(n) if n == 0 || n > most => Err(wrong(name, n, &format!("must be 1 to {most}"), origin, config)),
            _ => Ok(()),
        };
        let speed = |name, value: Option<f64>| match value {
            Some(n) if !(n.is_finite() && n > 0.0) => Err(wrong(name, n, "must be more than 0", origin, config)),
            _ => Ok(()),
        };
        number("workers", self.workers, u16::MAX.into())?;
        number("in_flight", self.in_flight, 4096)?;
        number("memory_mib", self.memory_mib, u64::MAX >> 24)?;
        speed("network_gbps", self.network_gbps)?;
        speed("disk_mbps", self.disk_mbps)?;
        for name in self.network_interfaces.iter().flatten() {
            // IFNAMSIZ, less the zero at its end.
            if !(1..=15).contains(&name.len()) || name.bytes().any(|b| b == b'/' || b.is_ascii_whitespace()) {
                let rule = "no name of a network interface";
                return Err(wrong("network_interfaces", format_args!("{name:?}"), rule, origin, config));
            }
        }
        match self.request_size_mib {
            Some(n) if !n.is_multiple_of(8) || !(n / 8).is_power_of_two() || n > 512 => {
                let rule = "must be 8 times a power of two, at most 512";
                Err(wrong("request_size_mib", n, rule, origin, config))
            }
            _ => Ok(()),
        }
    }
}

fn variable_name(name: &str) -> String {
    format!("BURST_{}", name.to_uppercase())
}

fn parse<T>(
    name: &str,
    get: impl Fn(&str) -> Option<String>,
    what: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>> {
    let Some(value) = get(name) else { return Ok(None) };
    read(value.trim())
        .map(Some)
        .ok_or_else(|| Error::new(Kind::Usage, format!("{}: {value:?} is not {what}", variable_name(name))))
}

fn number<T: std::str::FromStr>(name: &str, get: impl Fn(&str) -> Option<String>) -> Result<Option<T>> {
    parse(name, get, "a number", |text| text.parse().ok())
}

/// One of the words of an enumeration, as in the configuration file.
fn word<T: ValueEnum>(text: &str) -> Option<T> {
    T::from_str(text, false).ok()
}

/// Names a setting as it is written in the place it is from.
pub fn spelt(name: &str, origin: Origin, config: &Path) -> String {
    match origin {
        Origin::Environment => variable_name(name),
        Origin::ConfigFile => format!("{}: {name}", config.display()),
        // One for each flag.
        _ if name == "network_interfaces" => "--network-interface".to_owned(),
        _ => format!("--{}", name.trim_end_matches("_mib").replace('_', "-")),
    }
}

fn wrong(name: &str, value: impl fmt::Display, rule: &str, origin: Origin, config: &Path) -> Error {
    Error::new(Kind::Usage, format!("{} {value}: {rule}", spelt(name, origin, config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::from_file(file.path(), true)
    }

    #[test]
    fn configuration_files() {
        let all = "# comment\nworkers = 3\nin_flight = 40\nrequest_size_mib = 16\nmemory_mib = 900\n\
                   network_gbps = 12.5\ndisk_mbps = 500\nnetwork_interfaces = [\"ens5\"]\ndetect = false\n\
                   log = \"debug\"\nlog_format = \"json\"\n";
        let settings = file(all).unwrap();
        assert_eq!((settings.workers, settings.in_flight, settings.detect), (Some(3), Some(40), Some(false)));
        assert_eq!((settings.network_gbps, settings.disk_mbps), (Some(12.5), Some(500.0)));
        assert_eq!(settings.network_interfaces, Some(vec!["ens5".to_owned()]));
        assert_eq!((settings.log, settings.log_format), (Some(LogLevel::Debug), Some(LogFormat::Json)));
        assert_eq!(file("").unwrap(), Settings::default());
        let bad = [
            ("\n\nworker = 3\n", "line 3: unknown field `worker`"),
            ("workers = \"3\"", "line 1: invalid type"),
            ("workers = 1\nworkers = 2", "line 2"),
            ("workers = -1", "line 1"),
            ("\n[restore]\nworkers = 1\n", "line 2: unknown field `restore`"),
            ("workers", "line 1"),
            ("log = \"loud\"", "line 1: unknown variant `loud`"),
        ];
        for (text, part) in bad {
            let error = file(text).unwrap_err();
            assert!(error.kind() == Kind::Usage && error.to_string().contains(part), "{error}");
        }
        assert_eq!(Settings::from_file(Path::new("/nowhere"), false).unwrap(), Settings::default());
        assert_eq!(Settings::from_file(Path::new("/nowhere"), true).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_file() {
        let config = Path::new("/c");
        let with = |workers| Settings { workers, ..Settings::default() };
        let given =
            |flag, environment, file| layered(with(flag), with(environment), with(file), config).unwrap().workers;
        assert_eq!(given(Some(1), Some(2), Some(3)), Some((1, Origin::Flag)));
        assert_eq!(given(None, Some(2), Some(3)), Some((2, Origin::Environment)));
        assert_eq!(given(None, None, Some(3)), Some((3, Origin::ConfigFile)));
        assert_eq!(given(None, None, None), None);
        let none = Settings::default();
        // Wrong values are refused also where another place wins.
        let error = layered(with(Some(1)), none.clone(), with(Some(0)), config).unwrap_err();
        assert_eq!(error.to_string(), "/c: workers 0: must be 1 to 65535");
        let zero = Settings { request_size_mib: Some(24), ..none.clone() };
        let error = layered(zero, none.clone(), none.clone(), config).unwrap_err();
        assert_eq!(error.to_string(), "--request-size 24: must be 8 times a power of two, at most 512");
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let wrong = Settings { network_gbps: Some(speed), ..none.clone() };
            assert!(layered(none.clone(), wrong, none.clone(), config).is_err());
        }
        for name in ["", "an-interface-with-a-long-name", "a/b", "a b"] {
            let wrong = Settings { network_interfaces: Some(vec!["ens5".into(), name.into()]), ..none.clone() };
            let error = layered(wrong, none.clone(), none.clone(), config).unwrap_err();
            assert_eq!(error.to_string(), format!("--network-interface {name:?}: no name of a network interface"));
        }
    }

    #[test]
    fn variables() {
        let set = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            Settings::from_environment(move |asked| (asked == name).then(|| value.clone()))
        };
        assert_eq!(set("BURST_IN_FLIGHT", " 40 ").unwrap().in_flight, Some(40));
        assert_eq!(set("BURST_DETECT", "false").unwrap().detect, Some(false));
        let names = set("BURST_NETWORK_INTERFACES", "ens5, ens6").unwrap().network_interfaces;
        assert_eq!(names, Some(vec!["ens5".into(), "ens6".into()]));
        assert_eq!(set("BURST_LOG", "info").unwrap().log, Some(LogLevel::Info));
        assert_eq!(set("BURST_LOG_FORMAT", "json").unwrap().log_format, Some(LogFormat::Json));
        assert_eq!(set("BURST_MEMORY_MIB", "").unwrap(), Settings::default());
        assert_eq!(set("BURST_TOOLS", "x").unwrap(), Settings::default());
        let wrong = [("WORKERS", "many"), ("DETECT", "perhaps"), ("DISK_MBPS", "1 GB"), ("LOG", "loud")];
        for (name, value) in wrong.map(|(name, value)| (variable_name(name), value)) {
            let name = name.as_str();
            let error = set(name, value).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
