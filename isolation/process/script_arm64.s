//go:build !startbythread

#include "textflag.h"

// A step is at R19, the report at R20. Nothing but registers and the arena is
// used, so there need be no stack.
TEXT ·interpret(SB), NOSPLIT|NOFRAME, $0-0
loop:
	MOVD	0(R19), R8 // nr
	TBNZ	$63, R8, comparison
	MOVD	8(R19), R0
	MOVD	16(R19), R1
	MOVD	24(R19), R2
	MOVD	32(R19), R3
	MOVD	40(R19), R4
	MOVD	48(R19), R5
	SVC
	CMN	$4095, R0
	BCS	failed
done:
	MOVD	56(R19), R1 // out
	CBZ	R1, branch
	MOVD	R0, (R1)
branch:
	CBZ	R0, zero
	MOVD	64(R19), R19
	B	loop
zero:
	MOVD	72(R19), R19
	B	loop
comparison:
	MOVD	8(R19), R0
	MOVWU	(R0), R0
	MOVD	16(R19), R1
	SUBW	R1, R0, R0
	B	done
failed:
	NEG	R0, R0
	MOVD	88(R19), R1 // stage
	MOVW	R1, 0(R20)
	MOVW	R0, 4(R20)
	MOVD	80(R19), R19
	B	loop

TEXT ·interpretPC(SB), NOSPLIT, $0-8
	MOVD	$·interpret(SB), R0
	MOVD	R0, ret+0(FP)
	RET

TEXT ·clone(SB), NOSPLIT, $16-48
	MOVD	$-1, R0
	MOVD	R0, all-8(SP)
	MOVD	$135, R8 // rt_sigprocmask
	MOVD	$2, R0   // SIG_SETMASK
	MOVD	$all-8(SP), R1
	MOVD	$old-16(SP), R2
	MOVD	$8, R3
	SVC
	MOVD	first+24(FP), R19 // the newborn has no stack
	MOVD	report+32(FP), R20
	MOVD	code+16(FP), R21
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	$435, R8 // clone3
	SVC
	CBZ	R0, newborn
	MOVD	R0, ret+40(FP)
	MOVD	$135, R8
	MOVD	$2, R0
	MOVD	$old-16(SP), R1
	MOVD	$0, R2
	MOVD	$8, R3
	SVC
	RET
newborn:
	B	(R21)
