//go:build tamago

#include "textflag.h"

// The first instructions: finds the heap's region (call 0x104, use 1), and puts the first stack at its end.
TEXT cpuinit(SB),NOSPLIT|NOFRAME,$0
	SUB	$32, RSP, RSP
	MOVD	$0, R4
next:
	MOVD	$0x104, R0
	MOVD	R4, R1
	MOVD	RSP, R2
	SVC	$0
	CBNZ	R0, none
	ADD	$1, R4, R4
	MOVD	24(RSP), R5
	CMP	$1, R5
	BNE	next

	MOVD	0(RSP), R5
	MOVD	8(RSP), R6
	ADD	R5, R6, R6
	MOVD	$runtime∕goos·Bloc(SB), R7
	MOVD	R5, (R7)
	MOVD	$runtime∕goos·RamStart(SB), R7
	MOVD	(R7), R7
	SUB	R7, R6, R8
	MOVD	$runtime∕goos·RamSize(SB), R7
	MOVD	R8, (R7)
	SUB	$0x100, R6, R6
	MOVD	R6, RSP
	B	_rt0_tamago_start(SB)
none:
	BRK	$0

// func Call(number, a, b, c uint64) int64
TEXT ·Call(SB),NOSPLIT,$0-40
	MOVD	number+0(FP), R0
	MOVD	a+8(FP), R1
	MOVD	b+16(FP), R2
	MOVD	c+24(FP), R3
	SVC	$0
	MOVD	R0, ret+32(FP)
	RET

// func callWithBytes(number uint64, bytes []byte) int64
TEXT ·callWithBytes(SB),NOSPLIT,$0-40
	MOVD	number+0(FP), R0
	MOVD	bytes_base+8(FP), R1
	MOVD	bytes_len+16(FP), R2
	SVC	$0
	MOVD	R0, ret+32(FP)
	RET
