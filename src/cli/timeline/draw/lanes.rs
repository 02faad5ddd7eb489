//! Requests in flight, each a lane, with attempts that failed and checkpoints below.

use std::fmt::Write;
use std::time::Duration;

use super::{HEADING, LEFT, LEGEND, LETTER, PLOT, Scale, put};
use crate::cli::output::{bytes, count};
use crate::cli::timeline::{Record, Request};

/// Requests of a lane that are narrower together are drawn as one.
const NARROW: f64 = 1.5;

/// When each stage of a request began and the last ended, as far as it came.
pub fn stages(r: &Request, end: Duration) -> [Duration; 4] {
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

pub fn lanes(out: &mut String, record: &Record, end: Duration, scale: Scale, y: f64) -> f64 {
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
    let y = y + HEADING;
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
