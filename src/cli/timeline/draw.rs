//! The picture itself: SVG without scripts, readable on light and dark ground. What is below the pointer says its
//! figures.

use std::fmt::Write;
use std::time::Duration;

use super::{Caption, Record, Request};
use crate::cli::output::{bytes, count};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 64.0;
/// Where the legends begin, right of the headings.
const LEGEND: f64 = LEFT + 220.0;
const RIGHT: f64 = 24.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
/// Requests of a lane that are narrower together are drawn as one.
const NARROW: f64 = 1.5;
/// Columns of the curves.
const COLUMNS: usize = 160;
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
    let top = y;
    y = lanes(&mut body, record, end, scale, y);
    y = rates(&mut body, record, end, scale, y);
    y = work(&mut body, record, end, scale, y);
    y = axis(&mut body, record, scale, top, y);
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

/// Writing to a String does not fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{ let _ = writeln!($out, $($text)*); }};
}

/// What stands in a text element over the whole width, and the attribute that makes a long one fit whatever the font.
fn fit(text: &str, letters: usize) -> (String, String) {
    if text.chars().count() <= letters {
        return (String::new(), escape(text));
    }
    let cut: String = text.chars().take(letters.saturating_sub(1)).chain(['…']).collect();
    (format!(" textLength=\"{PLOT}\" lengthAdjust=\"spacingAndGlyphs\""), escape(&cut))
}

/// Title and figures; returns where it ends.
fn heading(out: &mut String, caption: &Caption<'_>) -> f64 {
    let (width, title) = fit(&caption.title, 96);
    put!(out, "<text class=\"title\" x=\"{LEFT}\" y=\"34\"{width}>{title}</text>");
    let mut y = 34.0;
    if let Some(failure) = &caption.failure {
        y += 20.0;
        let (width, short) = fit(failure, 160);
        let whole = escape(failure);
        put!(out, "<text class=\"bad\" x=\"{LEFT}\" y=\"{y}\"{width}>{short}<title>{whole}</title></text>");
    }
    let step = PLOT / caption.figures.len().max(1) as f64;
    for (n, (name, value)) in caption.figures.iter().enumerate() {
        let x = LEFT + n as f64 * step;
        put!(out, "<text class=\"name\" x=\"{x:.0}\" y=\"{:.0}\">{}</text>", y + 26.0, escape(name));
        put!(out, "<text class=\"value\" x=\"{x:.0}\" y=\"{:.0}\">{}</text>", y + 45.0, escape(value));
    }
    y + 66.0
}

/// A strip of what the time went to, one after the other.
fn phases(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
    let begun = record.requests.first().map_or(Duration::ZERO, |request| request.requested);
    let finishing = record.finishing.unwrap_or(end);
    let syncing = record.syncing.unwrap_or(end);
    let strip = [
        ("open", "opening the archive", Duration::ZERO, begun.min(finishing)),
        ("content", "content", begun, finishing),
        ("links", "links, attributes, trees", finishing, syncing),
        ("sync", "until all is on the disk", syncing, end),
    ];
    for (class, name, from, to) in strip {
        let (x, to_x) = (scale.x(from), scale.x(to));
        let seconds = to.saturating_sub(from).as_secs_f64();
        if seconds <= 0.0 {
            continue;
        }
        put!(
            out,
            "<g><title>{name}: {seconds:.3} s</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" \
             height=\"18\" rx=\"2\"/>",
            (to_x - x).max(0.5)
        );
        let long = format!("{name} {seconds:.2} s");
        for text in [long.as_str(), name] {
            if to_x - x > text.len() as f64 * LETTER + 8.0 {
                put!(out, "<text class=\"phase\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", x + 6.0, y + 13.0);
                break;
            }
        }
        put!(out, "</g>");
    }
    y + 26.0
}

/// Names of moments, in as many rows as they need; the lines below them come with the axis.
fn marks(out: &mut String, record: &Record, scale: Scale, y: f64) -> f64 {
    let mut rows: Vec<f64> = Vec::new();
    for (name, time) in moments(record) {
        let text = format!("{name} {:.2} s", time.as_secs_f64());
        let width = text.len() as f64 * LETTER;
        let x = scale.x(time);
        let at_end = x + width > WIDTH - RIGHT;
        let (from, to) = if at_end { (x - width - 4.0, x) } else { (x, x + width + 4.0) };
        let row = match rows.iter().position(|&used| used < from) {
            Some(row) => row,
            None => {
                rows.push(0.0);
                rows.len() - 1
            }
        };
        rows[row] = to + 8.0;
        let (anchor, at) = if at_end { ("end", x - 3.0) } else { ("start", x + 3.0) };
        put!(
            out,
            "<text class=\"marked\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
            y + 10.0 + 14.0 * row as f64
        );
    }
    y + 14.0 * rows.len() as f64 + 6.0
}

fn moments(record: &Record) -> Vec<(&'static str, Duration)> {
    let all = [
        ("directory read", record.directory_read),
        ("first part in place", record.first_part),
        ("last request", record.all_requested),
    ];
    let mut all: Vec<_> = all.into_iter().filter_map(|(name, time)| Some((name, time?))).collect();
    all.sort_by_key(|(_, time)| *time);
    all
}

/// When each stage of a request began and the last ended, as far as it came.
fn stages(r: &Request, end: Duration) -> [Duration; 4] {
    let done = r.done.unwrap_or(end);
    let taken = r.taken.unwrap_or(done);
    let arrived = r.arrived.unwrap_or(taken);
    [r.requested, arrived, taken, done]
}

/// Requests in lanes: each in the first lane that is free.
fn in_lanes(record: &Record, end: Duration) -> Vec<Vec<Request>> {
    let mut lanes: Vec<(Duration, Vec<Request>)> = Vec::new();
    for request in &record.requests {
        let until = stages(request, end)[3];
        match lanes.iter_mut().find(|(free, _)| *free <= request.requested) {
            Some((free, lane)) => {
                *free = until;
                lane.push(*request);
            }
            None => lanes.push((until, vec![*request])),
        }
    }
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

fn lanes(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
    let lanes = in_lanes(record, end);
    put!(out, "<text class=\"head\" x=\"{LEFT}\" y=\"{:.1}\">Requests in flight, each a lane</text>", y + 12.0);
    let mut x = LEGEND;
    let legend = [
        ("wait", "waiting for the source"),
        ("queue", "here, waiting for a worker"),
        ("work", "checked and written"),
        ("fail", "failed"),
    ];
    for (class, name) in legend {
        put!(out, "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{:.1}\" width=\"10\" height=\"10\" rx=\"2\"/>", y + 3.0);
        put!(out, "<text x=\"{:.0}\" y=\"{:.1}\">{name}</text>", x + 15.0, y + 12.0);
        x += 36.0 + name.len() as f64 * LETTER;
    }
    let y = y + 22.0;
    let step = (300.0 / lanes.len().max(1) as f64).clamp(3.0, 16.0);
    let height = step - if step > 6.0 { 2.0 } else { 0.5 };
    for (n, lane) in lanes.iter().enumerate() {
        let y = y + n as f64 * step;
        put!(out, "<rect class=\"lane\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{PLOT}\" height=\"{height:.1}\"/>");
        let mut group: Vec<Request> = Vec::new();
        for (at, request) in lane.iter().enumerate() {
            group.push(*request);
            let from = group.first().map_or(request.requested, |first| first.requested);
            let wide = scale.x(stages(request, end)[3]) - scale.x(from) >= NARROW;
            if wide || at + 1 == lane.len() {
                put_group(out, &group, end, scale, y, height);
                group.clear();
            }
        }
    }
    if lanes.is_empty() {
        put!(
            out,
            "<text x=\"{LEFT}\" y=\"{:.1}\">no requests: the archive came as a stream, or all was there</text>",
            y + 12.0
        );
    }
    let mut y = y + lanes.len().max(1) as f64 * step + 4.0;
    if !record.failed_attempts.is_empty() {
        put!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">failed</text>", LEFT - 6.0, y + 9.0);
        for time in &record.failed_attempts {
            put!(
                out,
                "<rect class=\"fail\" x=\"{:.1}\" y=\"{y:.1}\" width=\"2\" height=\"10\"><title>an attempt failed at \
                 {:.3} s</title></rect>",
                scale.x(*time) - 1.0,
                time.as_secs_f64()
            );
        }
        y += 14.0;
    }
    if !record.checkpoints.is_empty() {
        put!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">saved</text>", LEFT - 6.0, y + 9.0);
        for c in &record.checkpoints {
            let from = scale.x(c.ended.saturating_sub(c.took));
            put!(
                out,
                "<rect class=\"save\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"10\" rx=\"2\"><title>checkpoint \
                 at {:.3} s: {} on the disk, in {:.3} s</title></rect>",
                (scale.x(c.ended) - from).max(2.0),
                c.ended.as_secs_f64(),
                count(c.parts, "part"),
                c.took.as_secs_f64()
            );
        }
        y += 14.0;
    }
    y + 14.0
}

/// Some requests of one lane as one bar, whose stages are as long as theirs together.
fn put_group(out: &mut String, group: &[Request], end: Duration, scale: Scale, y: f64, height: f64) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
    let mut spent = [0.0; 3];
    for request in group {
        let [a, b, c, d] = stages(request, end);
        for (sum, (from, to)) in spent.iter_mut().zip([(a, b), (b, c), (c, d)]) {
            *sum += to.saturating_sub(from).as_secs_f64();
        }
    }
    let total: f64 = spent.iter().sum();
    let (from, to) = (scale.x(first.requested), scale.x(stages(last, end)[3]));
    let size: u64 = group.iter().map(|r| r.bytes).sum();
    let what = match group {
        [r] if r.parts == 1 => format!("part {}", r.first),
        [r] => format!("parts {}-{}", r.first, r.first + r.parts - 1),
        _ => count(group.len() as u64, "request"),
    };
    put!(
        out,
        "<g><title>{what}, {}: asked for at {:.3} s; {:.1} ms waiting for the source, {:.1} ms for a worker, {:.1} ms \
         with it</title>",
        bytes(size),
        first.requested.as_secs_f64(),
        1e3 * spent[0],
        1e3 * spent[1],
        1e3 * spent[2]
    );
    let mut x = from;
    let failed = group.iter().any(|r| !r.good);
    for (class, time) in ["wait", "queue", "work"].into_iter().zip(spent) {
        let width = (to - from) * time / total.max(1e-12);
        let class = if failed { "fail" } else { class };
        if width >= 0.05 {
            put!(
                out,
                "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.1}\"/>"
            );
        }
        x += width;
    }
    put!(out, "</g>");
}

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
fn rates(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
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
    let y = y + 22.0;
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
fn work(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
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
    let y = y + 22.0;
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

/// The time, and lines through everything above for the moments that have names.
fn axis(out: &mut String, record: &Record, scale: Scale, top: f64, y: f64) -> f64 {
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
    for (_, time) in moments(record) {
        put!(out, "<path class=\"mark\" d=\"M{:.1} {top:.1}V{y:.1}\"/>", scale.x(time));
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
    fn what_is_spread_is_not_lost() {
        let mut columns = [0.0; 10];
        spread(&mut columns, END, Duration::from_millis(150), Duration::from_millis(1990), 7.0);
        spread(&mut columns, END, END, END, 3.0);
        spread(&mut columns, END, Duration::ZERO, Duration::ZERO, 2.0);
        assert!((columns.iter().sum::<f64>() - 12.0).abs() < 0.01, "{columns:?}");
    }

    #[test]
    fn steps_are_round() {
        for (whole, expected) in [(1.0, 0.1), (2.4, 0.2), (60.0, 5.0), (3600.0, 500.0)] {
            assert!((step(whole) - expected).abs() < 1e-9, "{whole}: {}", step(whole));
        }
    }
}
