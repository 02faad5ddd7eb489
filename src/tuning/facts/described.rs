//! What EC2's API says of the instance type, asked as seldom as possible: the answer is kept in a file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Depth, Roots};
use crate::ec2::{InstanceType, api};
use crate::tuning::instance_types::{Found, find};

/// How long an answer counts. An older one counts only for a type that is not in the table, while EC2 does not answer.
const FRESH: Duration = Duration::from_secs(30 * 24 * 3600);

/// A fresh answer from the cache; else EC2's, if the table does not have the type or `depth` is full; else nothing.
pub fn described(
    roots: &Roots,
    name: &str,
    region: Option<&str>,
    depth: Depth,
    notes: &mut Vec<String>,
) -> Option<InstanceType> {
    let file = roots.cache.join("instance-types").join(name);
    let (cached, fresh) = read(&file, name).map_or((None, false), |(it, age)| (Some(it), age <= FRESH));
    let in_table = matches!(find(name), Some(Found::Exact(_)));
    if fresh || depth == Depth::Quick && in_table {
        return cached.filter(|_| fresh);
    }
    match api::instance_type(name, region) {
        Ok(it) => {
            // Who may not write there asks again.
            let _ = write(&file, &it);
            Some(it)
        }
        Err(api::Trouble::NotBuilt) if in_table => None,
        Err(trouble) => {
            let cached = cached.filter(|_| !in_table);
            let counts = if cached.is_some() { "an old answer" } else { "the table in the program" };
            notes.push(format!("DescribeInstanceTypes of {name}: {trouble}; {counts} counts"));
            cached
        }
    }
}

/// With its age. A file that is not as we write it counts as none.
fn read(file: &Path, name: &str) -> Option<(InstanceType, Duration)> {
    let text = std::fs::read_to_string(file).ok()?;
    let written = std::fs::metadata(file).and_then(|m| m.modified()).ok()?;
    let it = text.strip_suffix('\n').and_then(InstanceType::parse).filter(|it| it.name == name)?;
    // From the future: the clock was set since.
    Some((it, SystemTime::now().duration_since(written).unwrap_or_default()))
}

fn write(file: &Path, it: &InstanceType) -> std::io::Result<()> {
    let directory: PathBuf = file.parent().map(Path::to_owned).unwrap_or_default();
    std::fs::create_dir_all(&directory)?;
    let mut new = tempfile::NamedTempFile::new_in(&directory)?;
    writeln!(new, "{it}")?;
    new.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = "m7i.large 96 1024 1 200 1 - - - - -\n";

    /// What counts for a type, with this file in the cache, so old.
    fn counted(name: &str, text: &str, days: u64) -> Option<InstanceType> {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::below(dir.path());
        let file = roots.cache.join("instance-types").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        let written = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(written).unwrap();
        described(&roots, name, None, Depth::Quick, &mut Vec::new())
    }

    #[test]
    fn a_fresh_answer_counts_more_than_the_table() {
        assert_eq!(counted("m7i.large", OTHER, 29).unwrap().vcpus, 96);
        assert_eq!(counted("m7i.large", OTHER, 31), None);
    }

    #[test]
    fn damaged_answers() {
        for bad in ["", "\n", "m7i.large", OTHER.trim_end(), &OTHER.replace("96", "x"), &OTHER.replace("m7i", "m6i")] {
            assert_eq!(counted("m7i.large", bad, 0), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b");
        let it = InstanceType::parse(OTHER.trim_end()).unwrap();
        write(&file, &it).unwrap();
        let (read, age) = read(&file, "m7i.large").unwrap();
        assert!(read == it && age < FRESH);
    }
}
