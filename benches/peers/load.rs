//! Load: made by wrk, and for HEAD, whose answers wrk cannot read, by connections of this program.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One request, sent over and over.
pub struct Load<'a> {
    pub url: &'a str,
    pub connections: usize,
    pub seconds: u32,
    /// A header besides the usual ones.
    pub header: Option<&'a str>,
    /// A script of wrk's that makes the requests.
    pub script: Option<&'a Path>,
}

/// The figures of a load.
pub struct Figures {
    /// Requests a second.
    pub rate: f64,
    /// Milliseconds within which 99 of 100 answers arrived.
    pub p99: f64,
    /// The number of requests.
    pub requests: f64,
}

impl Load<'_> {
    /// Runs wrk.
    ///
    /// # Errors
    /// wrk is missing, or some answers were failures; in a sentence for the table.
    pub fn run(&self) -> Result<Figures, String> {
        let mut wrk = Command::new("wrk");
        // wrk's own timeout is 2 s, which a contestant that runs bcrypt for each request may exceed.
        wrk.args(["--latency", "--timeout", "10s"])
            // One thread makes some 110,000 requests a second, which is more than any contestant answers. A second one
            // would take the processor of a contestant where there are two.
            .arg("-t1")
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.seconds));
        if let Some(header) = self.header {
            wrk.args(["-H", header]);
        }
        if let Some(script) = self.script {
            wrk.arg("-s").arg(script);
        }
        let output = wrk.arg(self.url).output();
        let output = output.map_err(|error| format!("wrk: {error}: install wrk"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(line) = text.lines().find(|line| line.contains("Non-2xx")) {
            return Err(format!("wrk: {}", line.trim()));
        }
        if let Some(line) = text.lines().find(|line| line.contains("Socket errors")) {
            return Err(format!("wrk: {}", line.trim()));
        }
        let after = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            let rest = lines.find_map(|line| line.strip_prefix(name))?;
            Some(rest.trim().to_owned())
        };
        let rate = after("Requests/sec:").and_then(|it| it.parse().ok());
        let p99 = after("99%").and_then(|it| milliseconds(&it));
        let requests = text.lines().find_map(|line| {
            let (number, _) = line.trim().split_once(" requests in ")?;
            number.parse().ok()
        });
        match (rate, p99, requests) {
            (Some(rate), Some(p99), Some(requests)) => Ok(Figures { rate, p99, requests }),
            _ => Err(format!("wrk said: {}", text.replace(['\n', '|'], " "))),
        }
    }
}

fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let (number, unit) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * unit)
}

/// A connection that reads answers as fast as they come.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let buffer = Vec::with_capacity(16 << 10);
        Self { stream, buffer }
    }

    /// Sends a request; the status of the answer, whose body is discarded.
    pub async fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let end = loop {
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the connection was closed");
            if let Some(end) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = str::from_utf8(&self.buffer[..end]).unwrap().to_ascii_lowercase();
        if request.starts_with(b"HEAD") {
            return head[9..12].parse().unwrap();
        }
        let length = head.split("content-length: ").nth(1).unwrap_or("0");
        let length: usize = length.split('\r').next().unwrap().parse().unwrap();
        while self.buffer.len() < end + length {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0);
        }
        head[9..12].parse().unwrap()
    }
}

impl Load<'_> {
    /// Runs the load with HEAD, without wrk.
    ///
    /// # Errors
    /// Some answers were failures.
    pub async fn heads(&self) -> Result<Figures, String> {
        let (host, path) = self.url["http://".len()..].split_once('/').unwrap();
        let addr: SocketAddr = host.parse().unwrap();
        let header = self.header.map_or(String::new(), |line| format!("{line}\r\n"));
        let request = format!("HEAD /{path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n");
        let request = request.into_bytes();
        let (began, length) = (Instant::now(), Duration::from_secs(self.seconds.into()));
        let asking = (0..self.connections).map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                let (mut connection, mut times) = (Connection::to(addr).await, Vec::new());
                while began.elapsed() < length {
                    let asked = Instant::now();
                    let status = connection.ask(&request).await;
                    if status != 200 {
                        return Err(format!("HEAD is answered with {status}"));
                    }
                    times.push(asked.elapsed().as_secs_f64() * 1000.0);
                }
                Ok(times)
            })
        });
        let asking: Vec<_> = asking.collect();
        let mut times = Vec::new();
        for task in asking {
            times.extend(task.await.unwrap()?);
        }
        times.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
        let requests = times.len() as f64;
        Ok(Figures { rate: requests / began.elapsed().as_secs_f64(), p99: times[times.len() * 99 / 100], requests })
    }
}
