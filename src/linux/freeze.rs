//! A file system that holds still (FIFREEZE, FITHAW; `linux/fs.h`), and a guard process that thaws it whatever becomes
//! of this one.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::retry;

nix::ioctl_readwrite!(ioctl_freeze, b'X', 119, libc::c_int);
nix::ioctl_readwrite!(ioctl_thaw, b'X', 120, libc::c_int);

/// What the guard says at the end.
const THAWED: u8 = 0;
const LIMIT_PASSED: u8 = 1;
const WAS_THAWED: u8 = 2;

/// How a frozen time ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing could be written until now.
    Now,
    /// The guard ended it because the time allowed was over.
    AtLimit,
    /// Somebody else ended it, nobody knows when.
    ByOthers,
}

/// A file system that was frozen by this process. Thawed when this is dropped, when this process ends, however it ends,
/// and when the limit passes.
#[derive(Debug)]
pub struct Frozen {
    directory: File,
    guard: Option<Pid>,
    line: UnixStream,
    since: Instant,
}

impl Frozen {
    /// Freezes the file system of `directory` for at most `limit` (up to 24 days).
    ///
    /// Errors: EPERM without CAP_SYS_ADMIN, EOPNOTSUPP where it cannot be frozen, EBUSY if it is frozen already.
    pub fn new(directory: &File, limit: Duration) -> io::Result<Frozen> {
        let limit = i64::try_from(limit.as_millis()).ok().filter(|&ms| ms <= i64::from(i32::MAX));
        let limit = limit.ok_or(io::ErrorKind::InvalidInput)?;
        let directory = directory.try_clone()?;
        let (line, far_end) = UnixStream::pair()?;
        // SAFETY: other threads may hold locks that are never released in the child. It calls only `guard`, which
        // allocates nothing, makes system calls alone, and never returns.
        let guard = match unsafe { fork() }? {
            // SAFETY: both descriptors are open; this is the child of a fork.
            ForkResult::Child => unsafe { guard(far_end.as_raw_fd(), directory.as_raw_fd(), limit) },
            ForkResult::Parent { child } => child,
        };
        drop(far_end);
        let mut frozen = Frozen { directory, guard: Some(guard), line, since: Instant::now() };
        let mut errno = [0; 4];
        frozen.line.read_exact(&mut errno)?;
        match i32::from_ne_bytes(errno) {
            0 => Ok(frozen),
            errno => {
                frozen.wait();
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Lets others write again.
    pub fn thaw(mut self) -> io::Result<Ended> {
        self.end()
    }

    fn end(&mut self) -> io::Result<Ended> {
        if self.guard.is_none() {
            return Ok(Ended::Now);
        }
        // A guard that is gone, or whose time is over, does not listen.
        let _ = self.line.write_all(&[THAWED]);
        let mut said = [0];
        let answer = self.line.read_exact(&mut said);
        self.wait();
        match (answer, said) {
            (Ok(()), [THAWED]) => Ok(Ended::Now),
            (Ok(()), [LIMIT_PASSED]) => Ok(Ended::AtLimit),
            (Ok(()), _) => Ok(Ended::ByOthers),
            // Killed.
            (Err(_), _) => {
                let mut unused = 0;
                // SAFETY: the argument is a writable int that the kernel does not look at; the descriptor is open.
                match retry(|| unsafe { ioctl_thaw(self.directory.as_raw_fd(), &mut unused) }) {
                    Ok(_) => Ok(Ended::Now),
                    Err(Errno::EINVAL) => Ok(Ended::ByOthers),
                    Err(errno) => Err(errno.into()),
                }
            }
        }
    }

    fn wait(&mut self) {
        if let Some(guard) = self.guard.take() {
            let _ = retry(|| waitpid(guard, None));
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Whoever wants to know about an error has called `thaw`.
        let _ = self.end();
    }
}

/// The child: freezes, waits for a byte, the end of its parent or the end of the time, thaws.
///
/// # Safety
/// To be called in the child of a fork, with two open descriptors above 2.
unsafe fn guard(line: RawFd, directory: RawFd, limit_ms: i64) -> ! {
    // SAFETY: every call is async-signal-safe (signal-safety(7)) or a plain system call, and gets numbers or pointers to
    // locals that live longer than the call.
    unsafe {
        // Nothing but SIGKILL ends it: not the signals of the terminal, not those for all processes of a service.
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        libc::setsid();
        // It must not keep open what its parent has open: locks, and the other end of its own line.
        libc::dup2(line, 0);
        libc::dup2(directory, 1);
        if libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0) != 0 {
            (2..65_536).for_each(|number| {
                libc::close(number);
            });
        }
        libc::prctl(libc::PR_SET_NAME, c"burst-thaw".as_ptr());
        let mut unused = 0;
        let errno = ioctl_freeze(1, &mut unused).err().map_or(0, |errno| errno as i32);
        libc::write(0, (&raw const errno).cast(), 4);
        if errno != 0 {
            libc::_exit(1);
        }
        let end = now_ms() + limit_ms;
        let said = loop {
            let left = end - now_ms();
            let mut watched = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
            match libc::poll(&mut watched, 1, left.max(0) as libc::c_int) {
                0 if left <= 0 => break LIMIT_PASSED,
                1 => break THAWED,
                _ => {}
            }
        };
        let said = if ioctl_thaw(1, &mut unused).is_ok() { said } else { WAS_THAWED };
        libc::write(0, (&raw const said).cast(), 1);
        libc::_exit(0)
    }
}

/// Also counts while the machine sleeps.
fn now_ms() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime fills a writable timespec; it cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_frozen_says_so() {
        let error = Frozen::new(&File::open("/proc").unwrap(), Duration::from_secs(1)).unwrap_err();
        let expected = [Errno::EOPNOTSUPP, Errno::EPERM, Errno::ENOTTY];
        assert!(super::super::is_errno(&error, &expected), "{error}");
    }
}
