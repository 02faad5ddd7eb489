//! Writes the valid golden vectors and their half of the manifest:
//! `cargo run --no-default-features --example make_vectors -- spec/vectors`

#[path = "vector_set/mod.rs"]
mod vector_set;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(std::path::PathBuf::from) else {
        eprintln!("usage: make_vectors DIRECTORY");
        std::process::exit(2);
    };
    let path = directory.join("manifest.json");
    // The other half, the archives to be refused, is made by make_refuse.py.
    let mut manifest: serde_json::Value = match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => serde_json::json!({ "format": "1.0" }),
    };
    let mut valid = Vec::new();
    for make in vector_set::ALL {
        let vector = make();
        std::fs::write(directory.join(format!("{}.zip", vector.name)), &vector.bytes)?;
        println!("{:>10} {}", vector.bytes.len(), vector.name);
        valid.push(vector_set::json::manifest(&vector));
    }
    manifest["valid"] = valid.into();
    std::fs::write(path, format!("{manifest:#}\n"))
}
