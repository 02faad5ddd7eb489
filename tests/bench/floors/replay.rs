//! Replays the system calls of a recorded restore from memory: replay LIST TARGET
//!
//! LIST is what `tests/bench/record.py` makes of a trace. Each recorded thread is a thread here and makes its own calls
//! in their order; where a call needs what another thread did, it waits for that. Data is dummy bytes: the kernel does
//! not look into what it stores. Prints JSON: wall and CPU seconds from the first call to the last, and what was done.
//! Shares no code with the program.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::CString;
use std::io::BufRead;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::time::Instant;

use nix::libc::{self, c_long, iovec};
use nix::sys::resource::{UsageWho, getrusage};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What the kernel gets as data: does not compress, so that nothing is saved on a compressing mount.
const DATA: usize = 16 << 20;

enum Op {
    /// Opens the gate of this number.
    Signal(usize),
    Wait(usize),
    Call {
        number: c_long,
        arguments: Vec<Argument>,
        want: Want,
    },
}

enum Argument {
    Number(c_long),
    /// The descriptor in this slot.
    Slot(usize),
    /// A string or a structure, as bytes.
    Bytes(Box<[u8]>),
    /// A path below the descriptor in this slot, by way of /proc.
    Proc(usize, Box<[u8]>),
    Data,
    /// The argument of an encoded write.
    Encoded {
        offset: i64,
        len: u64,
        unencoded_len: u64,
        unencoded_offset: u64,
        compression: u32,
        bytes: usize,
    },
}

enum Want {
    Exactly(c_long),
    Failure,
    /// A descriptor, which goes into this slot.
    Descriptor(usize),
}

/// `struct btrfs_ioctl_encoded_io_args` (include/uapi/linux/btrfs.h).
#[repr(C)]
struct EncodedArguments {
    iov: *const iovec,
    iovcnt: libc::c_ulong,
    offset: i64,
    flags: u64,
    len: u64,
    unencoded_len: u64,
    unencoded_offset: u64,
    compression: u32,
    encryption: u32,
    reserved: [u8; 64],
}

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

struct Replay {
    slots: Vec<AtomicI32>,
    gates: Vec<Gate>,
    data: Vec<u8>,
    calls: AtomicU64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, list, target] = arguments.as_slice() else { return Err("replay LIST TARGET".into()) };
    let threads = read(list, target)?;
    let (mut slots, mut gates) = (0, 0);
    for op in threads.values().flatten() {
        match op {
            Op::Signal(gate) => gates = gates.max(gate + 1),
            Op::Call { want: Want::Descriptor(slot), .. } => slots = slots.max(slot + 1),
            _ => {}
        }
    }
    let replay = Replay {
        slots: (0..slots).map(|_| AtomicI32::new(-1)).collect(),
        gates: (0..gates).map(|_| Gate::default()).collect(),
        data: noise(),
        calls: AtomicU64::new(0),
    };
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let start = Barrier::new(threads.len() + 1);
    let (wall, cpu) = std::thread::scope(|scope| {
        let running: Vec<_> = threads
            .values()
            .map(|ops| {
                scope.spawn(|| {
                    start.wait();
                    // A thread that fails would leave others waiting for it.
                    if let Err(error) = replay.run(ops) {
                        eprintln!("replay: {error}");
                        std::process::exit(1);
                    }
                })
            })
            .collect();
        let begun = (cpu(), Instant::now());
        start.wait();
        for thread in running {
            let _ = thread.join();
        }
        (begun.1.elapsed().as_secs_f64(), cpu() - begun.0)
    });
    let calls = replay.calls.load(Ordering::Relaxed);
    println!(r#"{{"wall": {wall:.6}, "cpu": {cpu:.6}, "calls": {calls}, "threads": {}}}"#, threads.len());
    Ok(())
}

/// User and system seconds of this process so far.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage of this process cannot fail");
    [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum()
}

fn noise() -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..DATA / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// One line per call: THREAD s GATE, THREAD w GATE, or THREAD c NAME WANT ARGUMENT...
fn read(list: &str, target: &str) -> Result<BTreeMap<usize, Vec<Op>>> {
    let mut threads: BTreeMap<usize, Vec<Op>> = BTreeMap::new();
    for line in std::io::BufReader::new(std::fs::File::open(list)?).lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let op = match words.as_slice() {
            [_, "s", gate] => Op::Signal(gate.parse()?),
            [_, "w", gate] => Op::Wait(gate.parse()?),
            [_, "c", name, want, arguments @ ..] => Op::Call {
                number: number(name)?,
                want: match (want.as_bytes().first(), want.get(1..)) {
                    (Some(b'f'), _) => Want::Failure,
                    (Some(b'd'), Some(slot)) => Want::Descriptor(slot.parse()?),
                    _ => Want::Exactly(want.parse()?),
                },
                arguments: arguments.iter().map(|word| argument(word, target)).collect::<Result<_>>()?,
            },
            _ => return Err(format!("{list}: not understood: {line}").into()),
        };
        threads.entry(words[0].parse()?).or_default().push(op);
    }
    Ok(threads)
}

fn number(name: &str) -> Result<c_long> {
    Ok(match name {
        "close" => libc::SYS_close,
        "fchmod" => libc::SYS_fchmod,
        "fchmodat" => libc::SYS_fchmodat,
        "fchown" => libc::SYS_fchown,
        "fchownat" => libc::SYS_fchownat,
        "fcntl" => libc::SYS_fcntl,
        "fremovexattr" => libc::SYS_fremovexattr,
        "fsetxattr" => libc::SYS_fsetxattr,
        "fsync" => libc::SYS_fsync,
        "ftruncate" => libc::SYS_ftruncate,
        "ioctl" => libc::SYS_ioctl,
        "linkat" => libc::SYS_linkat,
        "mkdirat" => libc::SYS_mkdirat,
        "mknodat" => libc::SYS_mknodat,
        "openat" => libc::SYS_openat,
        "openat2" => libc::SYS_openat2,
        "pwrite64" => libc::SYS_pwrite64,
        "renameat" => libc::SYS_renameat,
        "setxattr" => libc::SYS_setxattr,
        "symlinkat" => libc::SYS_symlinkat,
        "syncfs" => libc::SYS_syncfs,
        "unlinkat" => libc::SYS_unlinkat,
        "utimensat" => libc::SYS_utimensat,
        "write" => libc::SYS_write,
        _ => return Err(format!("no such call here: {name}").into()),
    })
}

fn argument(word: &str, target: &str) -> Result<Argument> {
    let (kind, rest) = word.split_at(1);
    let fields: Vec<&str> = rest.split(',').collect();
    Ok(match (kind, fields.as_slice()) {
        ("n", [number]) => Argument::Number(number.parse()?),
        ("h", [slot]) => Argument::Slot(slot.parse()?),
        ("b", [hex]) => Argument::Bytes(bytes(hex)?.into()),
        // A path below the target, which is another one now.
        ("t", [hex]) => {
            Argument::Bytes(CString::new([target.as_bytes(), &bytes(hex)?].concat())?.into_bytes_with_nul().into())
        }
        ("p", [slot, hex]) => Argument::Proc(slot.parse()?, bytes(hex)?.into()),
        ("z", [_]) => Argument::Data,
        ("e", [offset, len, unencoded_len, unencoded_offset, compression, bytes]) => Argument::Encoded {
            offset: offset.parse()?,
            len: len.parse()?,
            unencoded_len: unencoded_len.parse()?,
            unencoded_offset: unencoded_offset.parse()?,
            compression: compression.parse()?,
            bytes: bytes.parse()?,
        },
        _ => return Err(format!("unknown argument {word}").into()),
    })
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    (0..hex.len() / 2).map(|i| Ok(u8::from_str_radix(&hex[2 * i..2 * i + 2], 16)?)).collect()
}

impl Replay {
    fn run(&self, ops: &[Op]) -> Result<()> {
        let mut calls = 0;
        for (index, op) in ops.iter().enumerate() {
            match op {
                Op::Signal(gate) => {
                    *self.gates[*gate].open.lock().map_err(|_| "poisoned")? = true;
                    self.gates[*gate].opened.notify_all();
                }
                Op::Wait(gate) => {
                    let gate = &self.gates[*gate];
                    let open = gate.open.lock().map_err(|_| "poisoned")?;
                    drop(gate.opened.wait_while(open, |open| !*open).map_err(|_| "poisoned")?);
                }
                Op::Call { number, arguments, want } => {
                    let result = self.call(*number, arguments)?;
                    calls += 1;
                    match *want {
                        Want::Exactly(wanted) if result == wanted => {}
                        Want::Failure if result < 0 => {}
                        Want::Descriptor(slot) if result >= 0 => {
                            self.slots[slot].store(result as i32, Ordering::Release)
                        }
                        _ => {
                            let error = std::io::Error::last_os_error();
                            return Err(
                                format!("call {index} of its thread, number {number}: {result} ({error})").into()
                            );
                        }
                    }
                }
            }
        }
        self.calls.fetch_add(calls, Ordering::Relaxed);
        Ok(())
    }

    fn call(&self, number: c_long, arguments: &[Argument]) -> Result<c_long> {
        let mut raw: [c_long; 6] = [0; 6];
        // Alive until the call returns.
        let mut path = CString::default();
        let (mut iov, mut encoded) = (None, None);
        for (raw, argument) in raw.iter_mut().zip(arguments) {
            *raw = match argument {
                Argument::Number(number) => *number,
                Argument::Slot(slot) => self.slot(*slot).into(),
                Argument::Bytes(bytes) => bytes.as_ptr() as c_long,
                Argument::Data => self.data.as_ptr() as c_long,
                Argument::Proc(slot, rest) => {
                    path = CString::new([format!("/proc/self/fd/{}", self.slot(*slot)).as_bytes(), rest].concat())?;
                    path.as_ptr() as c_long
                }
                &Argument::Encoded { offset, len, unencoded_len, unencoded_offset, compression, bytes } => {
                    let iov_base = self.data.as_ptr().cast_mut().cast();
                    let iov: &iovec = iov.insert(iovec { iov_base, iov_len: bytes.min(DATA) });
                    let encoded: &EncodedArguments = encoded.insert(EncodedArguments {
                        iov,
                        iovcnt: 1,
                        offset,
                        flags: 0,
                        len,
                        unencoded_len,
                        unencoded_offset,
                        compression,
                        encryption: 0,
                        reserved: [0; 64],
                    });
                    // One such argument in a call: the converter makes it from one ioctl.
                    &raw const *encoded as c_long
                }
            };
        }
        // SAFETY: the kernel checks numbers; every pointer is to bytes that outlive the call (`path`, `iov`,
        // `encoded`, the list, the data), and all recorded calls only read through their pointers.
        let result = unsafe { libc::syscall(number, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) };
        drop(path);
        Ok(result)
    }

    fn slot(&self, slot: usize) -> i32 {
        self.slots[slot].load(Ordering::Acquire)
    }
}
