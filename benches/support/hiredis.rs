//! hiredis, where it is installed: found when the benchmark runs, so that nothing else needs it to be built.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

type Connect = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type Command =
    unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char, *const usize) -> *mut Reply;
type Free = unsafe extern "C" fn(*mut c_void);

/// As far as it is read here. Since 1.0 a floating number stands before the length.
#[repr(C)]
struct Reply {
    kind: c_int,
    integer: i64,
    len_or_double: usize,
    len: usize,
}

const STRING: c_int = 1;

struct Functions {
    connect: Connect,
    command: Command,
    free_reply: Free,
    free: Free,
    is_old: bool,
}

fn functions() -> Option<&'static Functions> {
    static FUNCTIONS: OnceLock<Option<Functions>> = OnceLock::new();
    FUNCTIONS.get_or_init(load).as_ref()
}

fn load() -> Option<Functions> {
    let names = [
        (c"libhiredis.so.1.1.0", false),
        (c"libhiredis.so.1.0.0", false),
        (c"libhiredis.so.0.14", true),
    ];
    let open = |(name, is_old): (&CStr, bool)| {
        // SAFETY: loading it runs no code but its own.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        (!library.is_null()).then_some((library, is_old))
    };
    let (library, is_old) = names.into_iter().find_map(open)?;
    let symbol = |name: &CStr| {
        // SAFETY: the library stays loaded.
        let found = unsafe { libc::dlsym(library, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    // SAFETY: the types are those of hiredis.h.
    unsafe {
        Some(Functions {
            connect: std::mem::transmute::<*mut c_void, Connect>(symbol(c"redisConnect")?),
            command: std::mem::transmute::<*mut c_void, Command>(symbol(c"redisCommandArgv")?),
            free_reply: std::mem::transmute::<*mut c_void, Free>(symbol(c"freeReplyObject")?),
            free: std::mem::transmute::<*mut c_void, Free>(symbol(c"redisFree")?),
            is_old,
        })
    }
}

/// One connection, for one thread.
pub struct Hiredis(*mut c_void);

impl Hiredis {
    pub fn is_here() -> bool {
        functions().is_some()
    }

    pub fn connect(host: &str, port: u16) -> Hiredis {
        let host = CString::new(host).expect("a host");
        let functions = functions().expect("hiredis");
        // SAFETY: a C string that outlives the call.
        let context = unsafe { (functions.connect)(host.as_ptr(), port.into()) };
        assert!(!context.is_null(), "hiredis has no memory");
        Hiredis(context)
    }

    /// The length of a value.
    pub fn get(&mut self, key: &str) -> usize {
        let functions = functions().expect("hiredis");
        let args = [c"GET".as_ptr(), key.as_ptr().cast()];
        let lengths = [3, key.len()];
        // SAFETY: two arguments with their lengths, on a connection that is ours alone; the reply is read before it is
        // freed.
        unsafe {
            let reply = (functions.command)(self.0, 2, args.as_ptr(), lengths.as_ptr());
            assert!(!reply.is_null(), "hiredis lost its connection");
            assert_eq!((*reply).kind, STRING, "a wrong reply");
            let len = match functions.is_old {
                true => (*reply).len_or_double,
                false => (*reply).len,
            };
            (functions.free_reply)(reply.cast());
            len
        }
    }
}

impl Drop for Hiredis {
    fn drop(&mut self) {
        let functions = functions().expect("hiredis");
        // SAFETY: ours, and not used again.
        unsafe { (functions.free)(self.0) };
    }
}
