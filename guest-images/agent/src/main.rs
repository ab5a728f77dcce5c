//! PID 1 of a parprobe guest: takes calls from the harness over a virtio-serial port and answers them.
//!
//! It is the only process of the guest and writes nothing on the console, unless it dies: then the kernel
//! panics ("Attempted to kill init!") and the reason stands in the line above.

mod calls;
mod cputime;
mod kmsg;
mod mounts;
mod port;
mod sysfs;

use std::io::{self, BufReader};
use std::sync::{Arc, Mutex};

use protocol::{Call, Hello, Reply, Request, Word};

fn main() {
    if let Err(e) = serve() {
        // The panic that follows from the end of PID 1 should have its reason beside it.
        kmsg::emergency(&format!("agent: {e}"));
    }
}

fn serve() -> io::Result<()> {
    mounts::mount_all()?;
    // 4: errors and worse. A healthy probe prints warnings ("Power-on or device reset occurred"), and a serial
    // line takes longer than much of a probe. A panic or an oops raises the level by itself.
    sysfs::write("/proc/sys/kernel/printk", "4")?;
    calls::load_first()?;
    let port = port::open(protocol::PORT)?;
    let mut calls = BufReader::new(port.try_clone()?);
    let words = Arc::new(Mutex::new(port));

    let uname = nix::sys::utsname::uname()?;
    let hello = Hello {
        version: protocol::VERSION,
        release: uname.release().to_string_lossy().into_owned(),
        build: uname.version().to_string_lossy().into_owned(),
        cmdline: sysfs::read("/proc/cmdline")?.trim().to_owned(),
        cpus: sysfs::cpus()?,
    };
    say(&words, &Word::Hello(hello), &[])?;

    while let Some(call) = protocol::read_line::<Call>(&mut calls)? {
        let words = Arc::clone(&words);
        match call.request {
            Request::Ping => answer(&words, call)?,
            // A call of its own thread each: loading a module blocks for as long as its probes take.
            _ => drop(std::thread::Builder::new().spawn(move || answer(&words, call))?),
        }
    }
    Err(io::Error::other("the harness closed the port"))
}

fn answer(words: &Mutex<port::Port>, call: Call) -> io::Result<()> {
    let (result, body) = match calls::carry_out(call.request) {
        Ok((answer, body)) => (Ok(answer), body),
        Err(why) => (Err(why), Vec::new()),
    };
    say(words, &Word::Reply(Reply { id: call.id, result }), &body)
}

fn say(words: &Mutex<port::Port>, word: &Word, body: &[u8]) -> io::Result<()> {
    let mut stream = words.lock().map_err(|_| io::Error::other("a thread died while it answered"))?;
    protocol::write_line(&mut *stream, word, body)
}
