//! The bytes of one input: opened, counted, decompressed by content.
//!
//! A regular file is read by whoever drains it: it never makes anyone wait for somebody else. A pipe may, so stdin and
//! FIFOs are read by a thread of their own, which hands chunks over through a bounded channel.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, TryRecvError};
use flate2::bufread::MultiGzDecoder;

use super::{Progress, STDIN};
use crate::broker::{BrokerError, ErrorKind};
use crate::ring::Bell;

/// Bytes read at a time: few system calls, yet small beside the records in flight.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// Chunks of a pipe that wait to be taken.
const PIPE_CHUNKS: usize = 4;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Refuses what cannot be read, before anything starts. Returns the size in bytes; `None` for a pipe.
pub(super) fn check(path: &str) -> Result<Option<u64>, BrokerError> {
    if path == STDIN {
        return Ok(None);
    }
    let metadata = std::fs::metadata(path).map_err(|error| failed(path, &error))?;
    if metadata.is_dir() {
        let message = format!("{path}: is a directory; name the files in it");
        return Err(BrokerError::new(ErrorKind::File, message));
    }
    if !metadata.is_file() {
        // Opening a FIFO and closing it again would break its writer.
        return Ok(None);
    }
    File::open(path).map_err(|error| failed(path, &error))?;
    Ok(Some(metadata.len()))
}

/// A file's error for people.
pub(super) fn failed(path: &str, error: &io::Error) -> BrokerError {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; check its permissions",
        io::ErrorKind::UnexpectedEof => "; the compressed data is cut off",
        _ => "",
    };
    BrokerError::new(ErrorKind::File, format!("{path}: cannot be read: {error}{hint}"))
}

/// What reading on gave.
pub(super) enum Taken {
    /// This many bytes were appended; more than 0.
    Data,
    /// Nothing yet; the bell will ring.
    Pending,
    /// That was all.
    End,
}

/// Where bytes come from.
pub(super) enum Content {
    Inline(Box<dyn Read + Send>),
    Piped(Receiver<io::Result<Vec<u8>>>),
}

impl Content {
    /// Opens a path. A pipe's thread rings `bell` for each chunk.
    pub(super) fn open(
        path: &Arc<str>,
        progress: Arc<Progress>,
        bell: Arc<Mutex<Option<Bell>>>,
    ) -> io::Result<Content> {
        if **path != *STDIN && std::fs::metadata(&**path)?.is_file() {
            return Ok(Content::Inline(decoded(Counted { inner: File::open(&**path)?, progress })?));
        }
        let (chunks, receiver) = crossbeam_channel::bounded(PIPE_CHUNKS);
        let path = Arc::clone(path);
        let read = move || {
            let ring = || {
                if let Some(bell) = &*bell.lock().unwrap_or_else(PoisonError::into_inner) {
                    bell.ring();
                }
            };
            let send = |chunk| {
                let taken = chunks.send(chunk).is_ok();
                ring();
                taken
            };
            if let Err(error) = pump(&path, progress, &send) {
                send(Err(error));
            }
            // The channel closes with this thread; whoever waits must look once more to see it.
            drop(chunks);
            if let Some(bell) = &*bell.lock().unwrap_or_else(PoisonError::into_inner) {
                bell.ring();
            }
        };
        std::thread::Builder::new().name("pipe".into()).spawn(read)?;
        Ok(Content::Piped(receiver))
    }

    /// Appends what can be had now, up to about [`CHUNK_BYTES`], to `buffer`.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Taken> {
        match self {
            Content::Inline(reader) => {
                let before = buffer.len();
                buffer.resize(before + CHUNK_BYTES, 0);
                let read = read_once(reader, &mut buffer[before..]);
                buffer.truncate(before + *read.as_ref().unwrap_or(&0));
                Ok(if read? == 0 { Taken::End } else { Taken::Data })
            }
            Content::Piped(chunks) => match chunks.try_recv() {
                Ok(chunk) => {
                    buffer.extend_from_slice(&chunk?);
                    Ok(Taken::Data)
                }
                Err(TryRecvError::Empty) => Ok(Taken::Pending),
                Err(TryRecvError::Disconnected) => Ok(Taken::End),
            },
        }
    }
}

/// Reads a pipe to its end, a chunk for each read, so that a line is passed on as soon as it is written.
fn pump(path: &str, progress: Arc<Progress>, send: &dyn Fn(io::Result<Vec<u8>>) -> bool) -> io::Result<()> {
    let inner: Box<dyn Read + Send> = if path == STDIN { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut reader = decoded(Counted { inner, progress })?;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = read_once(&mut reader, &mut chunk)?;
        chunk.truncate(read);
        if read == 0 || !send(Ok(chunk)) {
            return Ok(());
        }
    }
}

fn read_once(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Looks at the first bytes and decompresses gzip and zstd, also when several members or frames follow each other.
fn decoded(mut raw: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut head = [0; ZSTD.len()];
    let mut known = 0;
    while known < head.len() {
        match read_once(&mut raw, &mut head[known..])? {
            0 => break,
            read => known += read,
        }
    }
    let head = head[..known].to_vec();
    let (gzip, zstd) = (head.starts_with(&GZIP), head.starts_with(&ZSTD));
    let whole = Cursor::new(head).chain(raw);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, whole)))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.add(read);
        Ok(read)
    }
}
