//! The picture itself: SVG without scripts, readable on light and dark ground. What is below the pointer says its
//! figures.

mod curves;
mod heading;
mod lanes;

use std::fmt::Write;
use std::time::Duration;

use self::curves::{rates, work};
use self::heading::{heading, marks, moments, phases};
use self::lanes::lanes;
use super::{Caption, Record};

/// Writing to a String does not fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{ let _ = writeln!($out, $($text)*); }};
}
use put;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 64.0;
/// Where the legends begin, right of the headings.
const LEGEND: f64 = LEFT + 220.0;
const RIGHT: f64 = 24.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
/// Height of the line above each panel that has its heading and legend.
const HEADING: f64 = 22.0;
/// About the width of a letter of 11 px.
const LETTER: f64 = 6.1;

const STYLE: &str = "\
svg{font:11px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\
.bg{fill:#fff}.lane{fill:#f3f5f8}text{fill:#57606a}.title{font-size:19px;font-weight:600;fill:#1f2328}\
.name{font-size:11px}.value{font-size:15px;font-weight:600;fill:#1f2328}.head{font-weight:600;fill:#1f2328}\
.bad{fill:#cf222e;font-weight:600}.grid{stroke:#d8dee4;stroke-width:1}.mark{stroke:#8250df;stroke-width:1;\
stroke-dasharray:3 3}.marked{fill:#8250df}.wait{fill:#8cbdf5}.queue{fill:#eac54f}.work{fill:#2da44e}.fail{fill:#cf222e}\
.in{fill:#0969da;fill-opacity:.16;stroke:#0969da;stroke-width:1.5}.out{fill:none;stroke:#1a7f37;stroke-width:1.5}\
.busy{fill:#2da44e;fill-opacity:.75}.idle{fill:#eac54f;fill-opacity:.8}.open{fill:#b6c2cf}.content{fill:#8cbdf5}.links{fill:#bf8fff}.sync{fill:#e58f4d}\
.save{fill:#8250df}.phase{fill:#1f2328}\
@media(prefers-color-scheme:dark){.bg{fill:#0d1117}.lane{fill:#161b22}text{fill:#9198a1}.title,.value,.head{fill:#f0f6fc}\
.grid{stroke:#2b323b}.bad{fill:#ff7b72}.mark{stroke:#c297ff}.marked,.save{fill:#c297ff}.wait,.content{fill:#2f6fb5}\
.queue{fill:#c79a1c}.work{fill:#2ea043}.fail{fill:#ff7b72}.in{fill:#58a6ff;fill-opacity:.18;stroke:#58a6ff}.out{stroke:#3fb950}\
.open{fill:#4a5561}.links{fill:#7a4fc0}.sync{fill:#b2632a}.phase{fill:#f0f6fc}}";

/// Where times are on the picture.
#[derive(Clone, Copy)]
struct Scale {
    end: f64,
}

impl Scale {
    fn x(self, time: Duration) -> f64 {
        LEFT + PLOT * (time.as_secs_f64() / self.end).min(1.0)
    }
}

pub fn svg(record: &Record, end: Duration, caption: &Caption<'_>) -> String {
    let scale = Scale { end: end.as_secs_f64().max(1e-6) };
    let mut body = String::new();
    let mut y = heading(&mut body, caption);
    y = phases(&mut body, record, end, scale, y);
    y = marks(&mut body, record, scale, y);
    // Below the names of moments; then through each panel, not through its heading.
    let mut lines = vec![y - 6.0..y + 2.0];
    for panel in [lanes, rates, work] {
        let top = y + HEADING;
        y = panel(&mut body, record, end, scale, y);
        lines.push(top..y);
    }
    for (_, time) in moments(record) {
        for line in &lines {
            put!(body, "<path class=\"mark\" d=\"M{:.1} {:.1}V{:.1}\"/>", scale.x(time), line.start, line.end);
        }
    }
    y = axis(&mut body, scale, y);
    let height = y + 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n\
         <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height:.0}\"/>\n{body}</svg>\n",
        escape(&caption.title)
    )
}

pub fn html(svg: &str, caption: &Caption<'_>) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>body{{margin:0;background:#fff}}svg{{display:block;margin:0 auto;max-width:100%;height:auto}}\
         @media(prefers-color-scheme:dark){{body{{background:#0d1117}}}}</style>\n{svg}</html>\n",
        escape(&caption.title)
    )
}

/// Text for XML. What XML cannot hold is left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

/// The time.
fn axis(out: &mut String, scale: Scale, y: f64) -> f64 {
    let step = step(scale.end);
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let mut n = 0;
    while n as f64 * step <= scale.end * 1.000_001 {
        let time = n as f64 * step;
        let x = LEFT + PLOT * time / scale.end;
        put!(out, "<path class=\"grid\" d=\"M{x:.1} {y:.1}v5\"/>");
        put!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{time:.decimals$} s</text>", y + 17.0);
        n += 1;
    }
    y + 20.0
}

/// 1, 2 or 5 times a power of ten: about ten of them make the whole.
fn step(whole: f64) -> f64 {
    let least = whole / 12.0;
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|&step| step >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Event;

    const END: Duration = Duration::from_secs(2);

    fn caption(title: &str) -> Caption<'static> {
        Caption { title: title.to_owned(), figures: vec![("content", "1 GB".to_owned())], failure: None }
    }

    #[test]
    fn names_cannot_break_out_of_the_text() {
        let text = html(&svg(&Record::default(), END, &caption("a<script>&\"\u{1}")), &caption("<b>"));
        assert!(text.contains("a&lt;script&gt;&amp;&quot;\u{FFFD}"), "{text}");
        assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");
    }

    #[test]
    fn of_many_requests_it_stays_small() {
        let mut record = Record::default();
        for first in 0..100_000 {
            let at = |n: u64| Duration::from_micros(20 * first + n);
            record.note(at(0), Event::Requested { first, parts: 1, bytes: 8 << 20 });
            record.note(at(5), Event::Arrived { first, bytes: 8 << 20, good: true });
            record.note(at(6), Event::Taken { first });
            record.note(at(15), Event::RequestDone { first });
        }
        let text = svg(&record, END, &caption("many"));
        assert!(text.len() < 1 << 20, "{}", text.len());
    }

    #[test]
    fn steps_are_round() {
        for (whole, expected) in [(1.0, 0.1), (2.4, 0.2), (60.0, 5.0), (3600.0, 500.0)] {
            assert!((step(whole) - expected).abs() < 1e-9, "{whole}: {}", step(whole));
        }
    }
}
