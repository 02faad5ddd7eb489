//! Curves over time: how fast it came and went, and how many requests were with workers.

use std::fmt::Write;
use std::time::Duration;

use super::lanes::stages;
use super::{HEADING, LEFT, LEGEND, PLOT, Scale, put};
use crate::cli::output::bytes;
use crate::cli::timeline::Record;

/// Columns of each curve.
const COLUMNS: usize = 160;

/// Adds `amount`, spread evenly over a time, to the columns.
fn spread(columns: &mut [f64], end: Duration, from: Duration, to: Duration, amount: f64) {
    const LEAST: f64 = 1e-6;
    let all = columns.len() as f64;
    let column = |time: Duration| time.as_secs_f64() / end.as_secs_f64().max(1e-9) * all;
    let from = column(from).min(all - LEAST);
    let to = column(to).min(all).max(from + LEAST);
    for (n, sum) in columns.iter_mut().enumerate().skip(from as usize) {
        let inside = to.min(n as f64 + 1.0) - from.max(n as f64);
        if inside <= 0.0 {
            break;
        }
        *sum += amount * inside / (to - from);
    }
}

/// How fast it came, and how fast it went to the disk.
pub fn rates(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
    const HEIGHT: f64 = 96.0;
    let seconds = scale.end / COLUMNS as f64;
    let (mut come, mut gone) = (vec![0.0; COLUMNS], vec![0.0; COLUMNS]);
    for r in &record.requests {
        // Each is on its way from when it is asked for until it is here; how its bytes come meanwhile nobody sees.
        if let Some(arrived) = r.arrived.filter(|_| r.good) {
            spread(&mut come, end, r.requested, arrived, r.bytes as f64 / seconds);
        }
        if let (Some(taken), Some(done)) = (r.taken, r.done) {
            spread(&mut gone, end, taken, done, r.bytes as f64 / seconds);
        }
    }
    let most = come.iter().chain(&gone).copied().fold(1.0, f64::max);
    put!(
        out,
        "<text class=\"head\" x=\"{LEFT}\" y=\"{:.1}\">Bytes of the archive per second</text>\
         <rect class=\"in\" x=\"{:.0}\" y=\"{:.1}\" width=\"10\" height=\"10\"/><text x=\"{:.0}\" y=\"{:.1}\">arriving</text>\
         <path class=\"out\" d=\"M{:.0} {:.1}h12\"/><text x=\"{:.0}\" y=\"{:.1}\">checked and written</text>",
        y + 12.0,
        LEGEND,
        y + 3.0,
        LEGEND + 15.0,
        y + 12.0,
        LEGEND + 86.0,
        y + 8.0,
        LEGEND + 103.0,
        y + 12.0
    );
    let y = y + HEADING;
    put!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}h{PLOT}M{LEFT} {:.1}h{PLOT}\"/>", y + HEIGHT);
    put!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}/s</text>", LEFT - 6.0, y + 9.0, compact(most));
    put!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">0</text>", LEFT - 6.0, y + HEIGHT);
    let line = |columns: &[f64]| {
        let mut path = String::new();
        for (n, value) in columns.iter().enumerate() {
            let x = LEFT + PLOT * (n as f64 + 0.5) / COLUMNS as f64;
            let _ = write!(path, "{}{x:.1} {:.1}", if n == 0 { "M" } else { "L" }, y + HEIGHT * (1.0 - value / most));
        }
        path
    };
    let bottom = y + HEIGHT;
    put!(
        out,
        "<path class=\"in\" d=\"{}L{:.1} {bottom:.1}L{LEFT} {bottom:.1}Z\"/>",
        line(&come),
        LEFT + PLOT * (COLUMNS as f64 - 0.5) / COLUMNS as f64
    );
    put!(out, "<path class=\"out\" d=\"{}\"/>", line(&gone));
    bottom + 16.0
}

/// "823 MB": without decimals, for a narrow place.
fn compact(n: f64) -> String {
    let text = bytes(n as u64);
    match text.split_once(' ') {
        Some((number, unit)) if number.len() > 5 => {
            format!("{} {unit}", number.split('.').next().unwrap_or_default())
        }
        _ => text,
    }
}

/// How many requests workers had in hand, and how many waited for one.
pub fn work(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
    const HEIGHT: f64 = 64.0;
    let column = scale.end / COLUMNS as f64;
    let (mut busy, mut waiting) = (vec![0.0; COLUMNS], vec![0.0; COLUMNS]);
    for r in &record.requests {
        let [_, arrived, taken, done] = stages(r, end);
        if r.arrived.is_some() && taken > arrived {
            spread(&mut waiting, end, arrived, taken, (taken - arrived).as_secs_f64() / column);
        }
        if r.taken.is_some() && done > taken {
            spread(&mut busy, end, taken, done, (done - taken).as_secs_f64() / column);
        }
    }
    let most = busy.iter().zip(&waiting).map(|(a, b)| a + b).fold(1.0, f64::max);
    put!(
        out,
        "<text class=\"head\" x=\"{LEFT}\" y=\"{:.1}\">Requests that are here</text>\
         <rect class=\"busy\" x=\"{:.0}\" y=\"{:.1}\" width=\"10\" height=\"10\"/><text x=\"{:.0}\" y=\"{:.1}\">with a worker</text>\
         <rect class=\"idle\" x=\"{:.0}\" y=\"{:.1}\" width=\"10\" height=\"10\"/><text x=\"{:.0}\" y=\"{:.1}\">waiting for one</text>",
        y + 12.0,
        LEGEND,
        y + 3.0,
        LEGEND + 15.0,
        y + 12.0,
        LEGEND + 115.0,
        y + 3.0,
        LEGEND + 130.0,
        y + 12.0
    );
    let y = y + HEADING;
    put!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{most:.0}</text>", LEFT - 6.0, y + 9.0);
    put!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">0</text>", LEFT - 6.0, y + HEIGHT);
    let width = PLOT / COLUMNS as f64;
    let bottom = y + HEIGHT;
    let (mut green, mut yellow) = (String::new(), String::new());
    for (n, (&busy, &waiting)) in busy.iter().zip(&waiting).enumerate() {
        let x = LEFT + n as f64 * width;
        let (low, high) = (HEIGHT * busy / most, HEIGHT * waiting / most);
        if low >= 0.05 {
            let _ = write!(green, "M{x:.2} {bottom:.1}v-{low:.1}h{width:.2}v{low:.1}z");
        }
        if high >= 0.05 {
            let _ = write!(yellow, "M{x:.2} {:.1}v-{high:.1}h{width:.2}v{high:.1}z", bottom - low);
        }
    }
    put!(out, "<path class=\"busy\" d=\"{green}\"/><path class=\"idle\" d=\"{yellow}\"/>");
    put!(out, "<path class=\"grid\" d=\"M{LEFT} {bottom:.1}h{PLOT}\"/>");
    bottom + 4.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Duration = Duration::from_secs(2);

    #[test]
    fn what_is_spread_is_not_lost() {
        let mut columns = [0.0; 10];
        spread(&mut columns, END, Duration::from_millis(150), Duration::from_millis(1990), 7.0);
        spread(&mut columns, END, END, END, 3.0);
        spread(&mut columns, END, Duration::ZERO, Duration::ZERO, 2.0);
        assert!((columns.iter().sum::<f64>() - 12.0).abs() < 0.01, "{columns:?}");
    }
}
