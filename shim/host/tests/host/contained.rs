//! A host as the first process of a container: artifact and key at descriptors 3 and 4, all else from the environment.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use wisp_host::inspect::Wanted;
use wisp_host::store::Artifact;

use crate::support::{Answer, get, prebuilt, program, read, shared_store, within};

mod commands;
mod isolation;
mod servers;

const COMPONENT: &str = "command.wasm";
const PREVIEW1: &str = "command-preview1.wasm";
const P3: &str = "command-p3.wasm";

/// `contained` with what a container runtime would give it.
struct Container {
    artifact: PathBuf,
    /// Programs that stand between the runtime and the host, such as chroot.
    through: Vec<String>,
    program: PathBuf,
    options: Vec<String>,
    env: Vec<(String, String)>,
    args: Vec<String>,
}

async fn container(component: &str) -> Container {
    let artifact = ensured(component).await;
    Container {
        artifact: artifact.path,
        through: Vec::new(),
        program: program().to_owned(),
        options: Vec::new(),
        env: Vec::new(),
        args: vec!["guest".to_owned()],
    }
}

async fn ensured(component: &str) -> Artifact {
    shared_store().ensure_wanted(&prebuilt(component), Wanted::Any).await.unwrap()
}

fn owned(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

impl Container {
    fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(owned(args));
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn preopen(mut self, folder: &Path, guest: &str) -> Self {
        self.options.extend(["--preopen".to_owned(), format!("{}::{guest}", folder.display())]);
        self
    }

    fn option(mut self, options: &[&str]) -> Self {
        self.options.extend(owned(options));
        self
    }

    fn through(mut self, programs: &[&str]) -> Self {
        self.through = owned(programs);
        self
    }

    fn start(self) -> Child {
        // The shell opens the descriptors and then is the host.
        Command::new("/bin/sh")
            .args(["-c", "exec 3<\"$0\" 4<\"$1\"; shift; exec \"$@\""])
            .arg(&self.artifact)
            .arg(shared_store().key_path())
            .args(&self.through)
            .arg(&self.program)
            .arg("contained")
            .args(&self.options)
            .arg("--")
            .args(&self.args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn run(self) -> Ran {
        let mut child = self.start();
        drop(child.stdin.take());
        within(child.wait_with_output()).await.unwrap().into()
    }
}

/// How a container ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.signal(), None, "{}", text(&output.stderr));
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

async fn line(child: &mut Child) -> String {
    let mut line = String::new();
    within(BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line)).await.unwrap();
    line
}

/// A server in a container, and the address that it says.
async fn server(given: Container) -> (Child, String) {
    let mut child = given.env("WISP_LISTEN", "tcp:127.0.0.1:0").env("NO_COLOR", "1").start();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = within(lines.next_line()).await.unwrap().expect("it listens before it ends");
        if let Some((_, address)) = line.split_once("address=tcp:") {
            return (child, address.to_owned());
        }
    }
}

async fn request(address: &str, path: &str) -> Answer {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<bytes::Bytes>>(stream).await.unwrap();
    tokio::spawn(connection);
    read(within(client.send_request(get(path))).await.unwrap()).await.unwrap()
}
