//! `healthcheck`: asks the service of this configuration how it is, for containers that have no other client.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

use super::args::Global;
use super::exit::{Exit, Failure};
use crate::admin::authorization;

/// How long connecting, and each part of the answer, may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Arguments of `healthcheck`.
#[derive(Debug, Clone, Default, Args)]
pub struct HealthcheckArgs {
    /// Ask only whether the process lives, not whether it does its work
    #[arg(long)]
    pub live: bool,
}

/// Status 0: healthy; 1: not, with the reasons on stdout; 3: nobody answers.
pub(super) fn execute(global: &Global, args: &HealthcheckArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let settings = global.settings()?;
    let listen = settings.admin.listen.ok_or_else(|| {
        let message = "`admin.listen` is off: there is nobody to ask";
        Failure::new(Exit::Usage, message)
    })?;
    let token = super::admin::token(&settings).map_err(|message| Failure::new(Exit::Usage, message))?;
    let path = if args.live { "/livez" } else { "/readyz" };
    let address = reachable(listen);
    let answer = ask(address, path, token.as_deref())
        .map_err(|error| Failure::new(Exit::Unreachable, format!("http://{address}{path}: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    writeln!(out, "{}", body.trim_end())?;
    let status = head.split(' ').nth(1);
    Ok(if status == Some("200") { Exit::Done } else { Exit::CheckFailed })
}

/// Where to reach what listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, path: &str, token: Option<&str>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    let token = token.map_or_else(String::new, |token| format!("Authorization: {}\r\n", authorization(token)));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
