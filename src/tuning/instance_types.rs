//! What an EC2 instance type can do, from a table that is part of the program (`instance_types.txt`, which names its
//! source). A type that is newer than the table is taken for its nearest relative there.

use crate::ec2::InstanceType;
use crate::ec2::instance_type::is_name;

/// A type, and how it was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// EC2 itself said so, now or some days ago.
    Described(InstanceType),
    /// In the table.
    Exact(InstanceType),
    /// Not in the table; this is the next smaller size of its family, or the smallest.
    SameFamily(InstanceType),
    /// Not in the table, nor its family; this has the same size and is the slowest of the latest generation of its
    /// class (m, c, r, ...).
    SameClass(InstanceType),
}

impl Found {
    pub fn instance_type(&self) -> &InstanceType {
        match self {
            Found::Described(found) | Found::Exact(found) | Found::SameFamily(found) | Found::SameClass(found) => found,
        }
    }
}

static TABLE: &str = include_str!("instance_types.txt");

/// The first line of the table that says where it is from.
pub fn source() -> &'static str {
    TABLE.lines().find_map(|line| line.strip_prefix("# Source: ")).unwrap_or_default()
}

/// The type of this name, or its nearest relative; None if nothing like it is known.
pub fn find(name: &str) -> Option<Found> {
    if let Some(found) = exact(name) {
        return Some(Found::Exact(found));
    }
    let (family, size) = name.split_once('.').filter(|_| is_name(name))?;
    let weight = size_weight(size)?;
    same_family(family, weight).map(Found::SameFamily).or_else(|| same_class(family, size).map(Found::SameClass))
}

/// All types, in order of their names.
pub fn all() -> impl Iterator<Item = InstanceType> {
    body().lines().filter_map(InstanceType::parse)
}

fn body() -> &'static str {
    // The head is the lines that begin with '#', all at the start.
    let head = TABLE.lines().take_while(|line| line.starts_with('#')).map(|line| line.len() + 1).sum();
    TABLE.get(head..).unwrap_or_default()
}

/// By halves: the table is text, and only the lines on the way are looked at.
fn exact(name: &str) -> Option<InstanceType> {
    let mut rest = body();
    while !rest.is_empty() {
        let middle = rest.as_bytes().iter().take(rest.len() / 2).rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let (before, from) = rest.split_at_checked(middle)?;
        let (line, after) = from.split_once('\n').unwrap_or((from, ""));
        let found = line.split(' ').next().unwrap_or_default();
        match found.cmp(name) {
            std::cmp::Ordering::Equal => return InstanceType::parse(line),
            std::cmp::Ordering::Greater => rest = before,
            std::cmp::Ordering::Less => rest = after,
        }
    }
    None
}

/// Sizes in order: a number that grows with them, 32 for an xlarge. Metal is larger than all others of its family.
fn size_weight(size: &str) -> Option<u32> {
    let times = |n: &str| n.parse::<u32>().ok().filter(|&n| (1..=10_000).contains(&n)).map(|n| 32 * n);
    match size {
        "nano" => Some(1),
        "micro" => Some(2),
        "small" => Some(4),
        "medium" => Some(8),
        "large" => Some(16),
        "xlarge" => Some(32),
        "metal" => Some(u32::MAX),
        _ => match size.strip_prefix("metal-") {
            Some(rest) => times(rest.strip_suffix("xl")?),
            None => times(size.strip_suffix("xlarge")?),
        },
    }
}

fn same_family(family: &str, weight: u32) -> Option<InstanceType> {
    let mut relatives: Vec<(u32, InstanceType)> = all()
        .filter_map(|it| {
            let (its_family, size) = it.name.split_once('.')?;
            (its_family == family).then_some((size_weight(size)?, it))
        })
        .collect();
    relatives.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| slower_first(&a.1, &b.1)));
    let smaller = relatives.iter().rev().find(|(its, _)| *its <= weight);
    smaller.or(relatives.first()).map(|(_, it)| it.clone())
}

/// The letters before the first digit, and the generation: "c7gn" is class c, generation 7.
fn class(family: &str) -> Option<(&str, u32)> {
    let at = family.find(|c: char| c.is_ascii_digit())?;
    let (class, rest) = family.split_at_checked(at)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| rest.get(..end).unwrap_or_default());
    (!class.is_empty()).then_some((class, digits.parse().ok()?))
}

fn same_class(family: &str, size: &str) -> Option<InstanceType> {
    let (wanted, _) = class(family)?;
    let relatives = all().filter_map(|it| {
        let (its_family, its_size) = it.name.split_once('.')?;
        let (its_class, generation) = class(its_family)?;
        (its_class == wanted && its_size == size).then_some((generation, it))
    });
    relatives.min_by(|a, b| b.0.cmp(&a.0).then_with(|| slower_first(&a.1, &b.1))).map(|(_, it)| it)
}

fn slower_first(a: &InstanceType, b: &InstanceType) -> std::cmp::Ordering {
    a.network_baseline_gbps.total_cmp(&b.network_baseline_gbps).then_with(|| a.name.cmp(&b.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_sound_and_found() {
        let lines = body().lines().count();
        assert!(lines >= 1300, "{lines} types");
        assert_eq!(all().count(), lines, "a line cannot be read");
        let mut before = String::new();
        for (it, line) in all().zip(body().lines()) {
            assert_eq!(it.to_string(), line);
            assert!(before < it.name, "{before} before {}", it.name);
            before.clone_from(&it.name);
            assert_eq!(find(&it.name), Some(Found::Exact(it.clone())));
            assert!(is_name(&it.name) && size_weight(it.name.split_once('.').unwrap().1).is_some(), "{}", it.name);
            assert!(it.vcpus > 0 && it.memory_mib > 0 && it.network_cards > 0, "{it:?}");
            assert!(0.0 < it.network_baseline_gbps && it.network_baseline_gbps <= it.network_peak_gbps, "{it:?}");
            if let Some(ebs) = it.ebs {
                assert!(0.0 < ebs.baseline_mbps && ebs.baseline_mbps <= ebs.maximum_mbps, "{it:?}");
            }
        }
    }

    #[test]
    fn types_that_are_not_in_the_table() {
        let named = |it: &InstanceType, name: &str| it.name == name;
        assert!(matches!(find("c7gn.3xlarge"), Some(Found::SameFamily(it)) if named(&it, "c7gn.2xlarge")));
        // Smaller than all.
        assert!(matches!(find("p5.xlarge"), Some(Found::SameFamily(it)) if named(&it, "p5.4xlarge")));
        let Some(Found::SameClass(it)) = find("m99zz.xlarge") else { panic!() };
        assert!(it.name.starts_with('m') && it.name.ends_with(".xlarge") && it.vcpus == 4, "{}", it.name);
        for nothing in
            ["", "m7i", "m7i.", ".large", "m7i.huge", "qq1.large", "m7i.xxlarge", "M7I.large", "a.b.c", "<html>"]
        {
            assert_eq!(find(nothing), None, "{nothing}");
        }
        assert!(source().contains("moto"));
    }
}
