//! What is above the lanes: title, figures, phases, and the names of moments.

use std::fmt::Write;
use std::time::Duration;

use super::{LEFT, LETTER, PLOT, RIGHT, Scale, WIDTH, escape, put};
use crate::cli::timeline::{Caption, Record};

/// What stands in a text element over the whole width, and the attribute that makes a long one fit whatever the font.
fn fit(text: &str, letters: usize) -> (String, String) {
    if text.chars().count() <= letters {
        return (String::new(), escape(text));
    }
    // Both ends say something: what ran and onto what, what failed and what to do.
    let text: Vec<char> = text.chars().collect();
    let (front, back) = (letters / 2, letters - letters / 2 - 1);
    let cut: String = text[..front].iter().chain(&['…']).chain(&text[text.len() - back..]).collect();
    (format!(" textLength=\"{PLOT}\" lengthAdjust=\"spacingAndGlyphs\""), escape(&cut))
}

/// Title and figures; returns where it ends.
pub fn heading(out: &mut String, caption: &Caption<'_>) -> f64 {
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
pub fn phases(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
    let begun = record.requests.first().map_or(Duration::ZERO, |request| request.requested);
    let finishing = record.finishing.unwrap_or(end);
    let syncing = record.syncing.unwrap_or(end);
    let strip = [
        ("open", "opening the archive", "opening", Duration::ZERO, begun.min(finishing)),
        ("content", "content", "content", begun, finishing),
        ("links", "links, attributes, trees", "links", finishing, syncing),
        ("sync", "until all is on the disk", "sync", syncing, end),
    ];
    for (class, name, short, from, to) in strip {
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
        let texts = [format!("{name} {seconds:.2} s"), format!("{short} {seconds:.2} s"), short.to_owned()];
        if let Some(text) = texts.iter().find(|text| to_x - x > text.len() as f64 * LETTER + 8.0) {
            put!(out, "<text class=\"phase\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", x + 6.0, y + 13.0);
        }
        put!(out, "</g>");
    }
    y + 26.0
}

/// Names of moments, in as many rows as they need; the lines below them come with the axis.
pub fn marks(out: &mut String, record: &Record, scale: Scale, y: f64) -> f64 {
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

pub fn moments(record: &Record) -> Vec<(&'static str, Duration)> {
    let all = [
        ("directory read", record.directory_read),
        ("first part in place", record.first_part),
        ("last request", record.all_requested),
    ];
    let mut all: Vec<_> = all.into_iter().filter_map(|(name, time)| Some((name, time?))).collect();
    all.sort_by_key(|(_, time)| *time);
    all
}
