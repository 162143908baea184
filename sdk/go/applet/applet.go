// Package applet makes a Go program an applet, a bare-metal program that Swiftlet runs as a KVM guest in user mode. It connects
// TamaGo's runtime (https://github.com/usbarmory/tamago, GOOS=tamago) with the calls of applet_abi.h: time of day, random numbers,
// console, sleep without spinning, arguments, exit status. It is compiled for GOARCH=arm64 and riscv64 with
// GOOSPKG=github.com/usbarmory/tamago.
//
// Importing it is enough for the standard library's os.Args, os.Exit, os.Stdout, time and crypto/rand.
package applet

import (
	"io"
	"os"
	"strings"
	"time"
	_ "unsafe"
)

// The numbers of calls.
const (
	callNanotime     = 2
	callRandom       = 3
	callRPCRequest   = 4
	callRPCResponse  = 5
	callWrite        = 0x100
	callRead         = 0x101
	callSleep        = 0x102
	callYield        = 0x103
	callArguments    = 0x105
	callExitStatus   = 0x109
	longestIdle      = int64(time.Hour)
	idleWithoutTimer = int64(100 * time.Millisecond)
)

// Call makes a call with its number and up to three arguments. Memory whose address is passed must stay alive and in place.
func Call(number, a, b, c uint64) int64

// callWithBytes makes a call with the address and the length of the bytes.
func callWithBytes(number uint64, bytes []byte) int64

// Arguments returns the applet's arguments; the first is its name.
func Arguments() []string {
	bytes := make([]byte, callWithBytes(callArguments, nil))
	callWithBytes(callArguments, bytes)
	// Each ends with a zero byte.
	return strings.Split(strings.TrimSuffix(string(bytes), "\x00"), "\x00")
}

// Yield lets other contexts run.
func Yield() {
	Call(callYield, 0, 0, 0)
}

// Stdin is the applet's standard input, from which os.Stdin does not read.
var Stdin io.Reader = stdin{}

type stdin struct{}

func (stdin) Read(bytes []byte) (int, error) {
	if len(bytes) == 0 {
		return 0, nil
	}
	// A prompt comes before the wait.
	flush()
	count := callWithBytes(callRead, bytes)
	if count <= 0 {
		return 0, io.EOF
	}
	return int(count), nil
}

func init() {
	os.Args = Arguments()
}
