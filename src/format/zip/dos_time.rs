//! MS-DOS date and time (APPNOTE 4.4.6), in UTC.

use crate::format::entry::Timestamp;

/// (time, date) of a moment, clamped to 1980-01-01 00:00:00 and 2107-12-31 23:59:58, two-second steps rounded down.
pub fn from_timestamp(t: Timestamp) -> (u16, u16) {
    const FIRST: i64 = 315_532_800; // 1980-01-01T00:00:00Z
    const LAST: i64 = 4_354_819_198; // 2107-12-31T23:59:58Z
    let seconds = t.seconds.clamp(FIRST, LAST);
    let (days, in_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let time = (in_day / 3600) << 11 | (in_day / 60 % 60) << 5 | (in_day % 60 / 2);
    let date = (year - 1980) << 9 | month << 5 | day;
    (time as u16, date as u16)
}

/// "2024-02-29 12:34:56", in UTC.
pub fn utc(t: Timestamp) -> String {
    let (days, in_day) = (t.seconds.div_euclid(86_400), t.seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", in_day / 3600, in_day / 60 % 60, in_day % 60)
}

/// Gregorian date of a day number counted from 1970-01-01 (years count from March so that leap days come last).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dos(seconds: i64) -> (u16, u16) {
        from_timestamp(Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn text() {
        assert_eq!(utc(Timestamp { seconds: 1_709_210_096, nanos: 0 }), "2024-02-29 12:34:56");
        assert_eq!(utc(Timestamp { seconds: -1, nanos: 0 }), "1969-12-31 23:59:59");
    }

    #[test]
    fn known_moments() {
        assert_eq!(dos(0), (0, 0x21));
        assert_eq!(dos(i64::MIN), (0, 0x21));
        assert_eq!(dos(i64::MAX), (0xBF7D, 0xFF9F));
        // 2024-02-29T12:34:56Z
        assert_eq!(dos(1_709_210_096), (12 << 11 | 34 << 5 | 28, 44 << 9 | 2 << 5 | 29));
    }
}
