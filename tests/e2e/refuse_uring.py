"""usage: refuse_uring.py ERRNO COMMAND ...: runs it where the kernel answers io_uring's calls with that error, as containers do."""
import ctypes
import os
import struct
import sys

NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
LOAD_NUMBER, GREATER_EQUAL, RETURN = 0x20, 0x35, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def statement(code, yes, no, k):
    return struct.pack("<HBBI", code, yes, no, k)


class Program(ctypes.Structure):
    _fields_ = [("n", ctypes.c_ushort), ("statements", ctypes.c_char_p)]


def main():
    code = (statement(LOAD_NUMBER, 0, 0, 0) + statement(GREATER_EQUAL, 0, 2, 425) +  # io_uring_setup, _enter, _register,
            statement(GREATER_EQUAL, 1, 0, 428) +                                    # the same on every architecture
            statement(RETURN, 0, 0, ERROR | int(sys.argv[1])) + statement(RETURN, 0, 0, ALLOW))
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code) // 8, code)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(program)):
        sys.exit(f"refuse_uring.py: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
