package applet

import _ "unsafe"

// What TamaGo's runtime requires (package runtime/goos). Before hwinit1 nothing may be allocated.

// The image is linked at 0x80010000 (-T). The heap and the first stack are in the heap's region: cpuinit sets bloc and ramSize.

//go:linkname ramStart runtime/goos.RamStart
var ramStart uint64 = 0x80000000

//go:linkname ramSize runtime/goos.RamSize
var ramSize uint64 = 0x1000000

//go:linkname ramStackOffset runtime/goos.RamStackOffset
var ramStackOffset uint64 = 0x100

//go:linkname bloc runtime/goos.Bloc
var bloc uintptr

//go:linkname exit runtime/goos.Exit
var exit func(status int32)

//go:linkname idle runtime/goos.Idle
var idle func(until int64)

//go:linkname hwinit0 runtime/goos.Hwinit0
//go:nosplit
func hwinit0() {}

//go:linkname hwinit1 runtime/goos.Hwinit1
func hwinit1() {
	exit = exitNow
	idle = idleUntil
}

//go:linkname initRNG runtime/goos.InitRNG
func initRNG() {}

//go:linkname getRandomData runtime/goos.GetRandomData
func getRandomData(bytes []byte) {
	callWithBytes(callRandom, bytes)
}

// Nanoseconds of time of day.
//
//go:linkname nanotime runtime/goos.Nanotime
//go:nosplit
func nanotime() int64 {
	return Call(callNanotime, 0, 0, 0)
}

// Output is collected, so that a line needs one call.
var line [256]byte
var lineLength int

//go:linkname printk runtime/goos.Printk
//go:nosplit
func printk(character byte) {
	line[lineLength] = character
	lineLength++
	if character == '\n' || lineLength == len(line) {
		flush()
	}
}

//go:nosplit
func flush() {
	callWithBytes(callWrite, line[:lineLength])
	lineLength = 0
}

func exitNow(status int32) {
	flush()
	for {
		Call(callExitStatus, uint64(status), 0, 0)
	}
}

// idleUntil sleeps until a timer expires: no goroutine can run before.
func idleUntil(until int64) {
	flush()
	duration := idleWithoutTimer
	if until > 0 {
		duration = min(until-nanotime(), longestIdle)
	}
	if duration > 0 {
		Call(callSleep, uint64(duration), 0, 0)
	}
}
