//! https with a certificate authority of our own, in front of a real server.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use burst::error::Kind;

use crate::s3_server::{S3Server, free_address};
use crate::*;

/// nginx that terminates TLS for `localhost`.
struct Terminator {
    child: Child,
    url: String,
    ca: PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Terminator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(directory: &Path, program: &str, arguments: &str) {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .output()
        .unwrap_or_else(|e| panic!("{program} is needed by this test: {e}"));
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
}

fn terminator(server: &S3Server) -> Terminator {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("ext"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    run(path, "openssl", &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=test-authority -days 2"));
    run(path, "openssl", &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    run(
        path,
        "openssl",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile ext",
    );
    let address = free_address();
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr; events {{}}
         http {{
           access_log off; client_max_body_size 0;
           client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
           uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
           server {{
             listen {address} ssl; ssl_certificate {0}/server.pem; ssl_certificate_key {0}/server.key;
             location / {{
               proxy_pass http://{1}; proxy_http_version 1.1; proxy_set_header Host $http_host;
               proxy_request_buffering off;
             }}
           }}
         }}",
        path.display(),
        server.address
    );
    fs::write(path.join("nginx.conf"), config).unwrap();
    let child = Command::new("nginx")
        .args(["-e", "stderr", "-p"])
        .arg(path)
        .arg("-c")
        .arg(path.join("nginx.conf"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("nginx is needed by this test: {e}"));
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nginx not up");
        std::thread::sleep(Duration::from_millis(20));
    }
    Terminator {
        child,
        url: format!("https://localhost:{}", address.port()),
        ca: path.join("ca.pem"),
        _directory: directory,
    }
}

#[test]
fn https_with_a_ca_bundle() {
    let server = S3Server::s3s(&["bucket"]);
    let tls = terminator(&server);
    let mut options = options(&tls.url);
    options.ca_bundle = Some(tls.ca.clone());
    let bytes = content(20 * MIB + 1);
    put("k", &bytes, &options).unwrap();
    let source = open("k", &options).unwrap();
    assert!(read_all(&source) == bytes);
    drop(source);

    // A failed handshake is told after 10 to 30 seconds only (see is_tls in the client).
    options.stall_timeout = Duration::from_secs(60);
    // Not trusted without the bundle, not valid for another name, and no bundle at all.
    let mut strict = options.clone();
    strict.ca_bundle = None;
    let error = open("k", &strict).err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.hint().is_some_and(|hint| hint.contains("AWS_CA_BUNDLE")), "{error}");
    let mut other = options.clone();
    other.endpoint_url = Some(tls.url.replace("localhost", "127.0.0.1"));
    assert_eq!(kind(open("k", &other)), Kind::Unavailable);
    options.ca_bundle = Some("/nonexistent/ca.pem".into());
    assert_eq!(kind(open("k", &options)), Kind::Usage);
    options.ca_bundle = Some("/dev/null".into());
    assert_eq!(kind(open("k", &options)), Kind::Usage);
}
