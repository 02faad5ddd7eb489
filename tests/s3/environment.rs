//! Settings from the environment and the profile files, each in a process of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use burst::store::{Location, S3Options, open_source};

use crate::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use crate::{options, put};

/// What the child does: `open`, or nothing but telling its settings. Also names its profile, after a colon.
const TASK: &str = "BURST_TEST_TASK";

/// Not a test of its own: the tests below run it with an environment.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let (task, profile) = task.split_once(':').unwrap_or((&task, ""));
    let profile = Some(profile).filter(|p| !p.is_empty());
    let mut options = S3Options::from_environment(profile).unwrap();
    options.find_region();
    println!("region={:?} endpoint={:?}", options.region, options.endpoint_url);
    if task == "open" {
        let location = Location::parse("s3://bucket/k".as_ref()).unwrap();
        match open_source(&location, &options) {
            Ok(source) => println!("opened {} bytes", source.len()),
            Err(error) => println!("{:?}: {error}", error.kind()),
        }
    }
}

fn run(task: &str, environment: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "environment::child", "--nocapture"])
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(TASK, task)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    println!("{text}");
    text
}

#[test]
fn variables_and_profiles() {
    let server = S3Server::s3s(&["bucket"]);
    put("k", b"content", &options(&server.url())).unwrap();
    let url = server.url();
    let files = tempfile::tempdir().unwrap();
    let (config, keys) = (files.path().join("config"), files.path().join("credentials"));
    let text = format!(
        "[default]\nregion = eu-south-1\nendpoint_url = {url}\n\n[profile two]\nregion=eu-south-2\nendpoint_url={url}\n"
    );
    fs::write(&config, text).unwrap();
    let good = format!("aws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n");
    let bad = format!("aws_access_key_id={ACCESS_KEY}\naws_secret_access_key=wrong\n");
    fs::write(&keys, format!("[default]\n{bad}\n[two]\n{good}")).unwrap();
    let config = ("AWS_CONFIG_FILE", config.to_str().unwrap());
    let keys = ("AWS_SHARED_CREDENTIALS_FILE", keys.to_str().unwrap());
    let id = ("AWS_ACCESS_KEY_ID", ACCESS_KEY);
    let secret = ("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let wrong = ("AWS_SECRET_ACCESS_KEY", "wrong");
    let endpoint = ("AWS_ENDPOINT_URL", url.as_str());

    let text = run("open", &[id, secret, endpoint]);
    assert!(text.contains("opened 7") && text.contains("region=Some(\"us-east-1\")"));
    let nowhere = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let text = run("open", &[id, secret, nowhere, ("AWS_ENDPOINT_URL_S3", &url), ("AWS_REGION", "r-1")]);
    assert!(text.contains("opened 7") && text.contains("region=Some(\"r-1\")"));
    let text = run("open", &[id, wrong, endpoint]);
    assert!(text.contains("Denied"));
    // The default profile's keys are wrong, the variables come before them, --profile before these.
    let text = run("open", &[config, keys]);
    assert!(text.contains("Denied") && text.contains("region=Some(\"eu-south-1\")"));
    assert!(run("open", &[config, keys, id, secret]).contains("opened 7"));
    let text = run("open", &[config, keys, ("AWS_PROFILE", "two")]);
    assert!(text.contains("opened 7") && text.contains("region=Some(\"eu-south-2\")"));
    assert!(run("open:two", &[config, keys, id, wrong]).contains("opened 7"));
    // Nothing at all.
    let text = run("open", &[endpoint]);
    assert!(text.contains("Denied") && text.contains("no usable AWS credentials"));
}

const IDENTITY: &str = r#"{"accountId": "123456789012", "availabilityZone": "eu-central-9a", "region": "eu-central-9",
    "instanceId": "i-0123456789abcdef0", "instanceType": "m7i.large"}"#;

/// An instance metadata service that answers every document with `document`.
fn metadata(document: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(std::io::Result::ok) {
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while let Ok(n @ 1..) = socket.read(&mut request) {
                    let token = request[..n].starts_with(b"PUT");
                    let Some(document) = document else { continue };
                    let body = if token { "the-token" } else { document };
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nx-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n{body}"
                    );
                    let _ = socket.write_all(answer.as_bytes());
                }
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn the_region_of_an_instance() {
    let cases = [
        (Some(IDENTITY), "eu-central-9"),
        (Some("{\"region\": \"eu-central-9\"}"), "us-east-1"),
        (Some("denied by the network"), "us-east-1"),
        (None, "us-east-1"),
    ];
    for (document, region) in cases {
        let url = metadata(document);
        let begun = Instant::now();
        let text = run("tell", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url), ("AWS_EC2_METADATA_DISABLED", "false")]);
        assert!(text.contains(&format!("region=Some({region:?})")), "{text}");
        println!("{document:?}: {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
}
