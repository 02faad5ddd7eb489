//! Values of flags that have a unit.

use std::time::Duration;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Seconds, with a fraction if need be, or a number with s, m or h; at most a week.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write 30, 30s, 5m or 1h, at most a week".to_owned();
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number = digits.parse::<f64>().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if duration <= WEEK { Ok(duration) } else { Err(wrong()) }
}

/// The same, but not 0.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let found = duration(text)?;
    if found.is_zero() { Err("it must be more than 0".to_owned()) } else { Ok(found) }
}

/// At least a second, at most a day: while a file system is frozen, whoever writes to it waits.
pub fn freeze_limit(text: &str) -> Result<Duration, String> {
    let found = duration(text)?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    if allowed.contains(&found) { Ok(found) } else { Err("it must be 1s to 24h".to_owned()) }
}

/// A size in bytes, or with K, M, G or T for powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let shift = match unit.trim_end_matches("iB") {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("a size is a number of bytes, or with K, M, G or T".into()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .filter(|&n| n <= i64::MAX as u64)
        .ok_or_else(|| "a size is a number of bytes, or with K, M, G or T, of less than 8 EiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0", 0),
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0.05", 50),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for bad in ["", "s", "-1", "5 m", "1d", "99999999999999999999", "169h", "inf", "nan", "1e3", ".", "1.2.3"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["0", "0s", "1e-20", "0.00000000001"] {
            assert!(positive_duration(bad).is_err(), "{bad}");
        }
        assert!(freeze_limit("0.5").is_err() && freeze_limit("25h").is_err() && freeze_limit("24h").is_ok());
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("3MiB"), Ok(3 << 20));
        for bad in ["", "G", "1.5G", "-1", "8388608T", "1X"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
