//go:build tamago

#include "textflag.h"

// The first instructions: finds the heap's region (call 0x104, use 1), and puts the first stack at its end.
TEXT cpuinit(SB),NOSPLIT|NOFRAME,$0
	ADD	$-32, X2
	MOV	$0, X14
next:
	MOV	$0x104, X10
	MOV	X14, X11
	MOV	X2, X12
	ECALL
	BNEZ	X10, none
	ADD	$1, X14
	MOV	24(X2), X15
	MOV	$1, X16
	BNE	X15, X16, next

	MOV	0(X2), X15
	MOV	8(X2), X16
	ADD	X15, X16
	MOV	X15, runtime∕goos·Bloc(SB)
	MOV	runtime∕goos·RamStart(SB), X17
	SUB	X17, X16, X17
	MOV	X17, runtime∕goos·RamSize(SB)
	ADD	$-0x100, X16, X2
	JMP	_rt0_tamago_start(SB)
none:
	EBREAK

// func Call(number, a, b, c uint64) int64
TEXT ·Call(SB),NOSPLIT,$0-40
	MOV	number+0(FP), X10
	MOV	a+8(FP), X11
	MOV	b+16(FP), X12
	MOV	c+24(FP), X13
	ECALL
	MOV	X10, ret+32(FP)
	RET

// func callWithBytes(number uint64, bytes []byte) int64
TEXT ·callWithBytes(SB),NOSPLIT,$0-40
	MOV	number+0(FP), X10
	MOV	bytes_base+8(FP), X11
	MOV	bytes_len+16(FP), X12
	ECALL
	MOV	X10, ret+32(FP)
	RET
