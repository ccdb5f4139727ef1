//go:build !startbythread

#include "textflag.h"

// A step is at R12, the report at R13. Nothing but registers and the arena is
// used, so there need be no stack.
TEXT ·interpret(SB), NOSPLIT|NOFRAME, $0-0
loop:
	MOVQ	0(R12), AX // nr
	TESTQ	AX, AX
	JMI	comparison
	MOVQ	8(R12), DI
	MOVQ	16(R12), SI
	MOVQ	24(R12), DX
	MOVQ	32(R12), R10
	MOVQ	40(R12), R8
	MOVQ	48(R12), R9
	SYSCALL
	CMPQ	AX, $-4095
	JCC	failed
done:
	MOVQ	56(R12), BX // out
	TESTQ	BX, BX
	JEQ	branch
	MOVQ	AX, (BX)
branch:
	TESTQ	AX, AX
	JEQ	zero
	MOVQ	64(R12), R12
	JMP	loop
zero:
	MOVQ	72(R12), R12
	JMP	loop
comparison:
	MOVQ	8(R12), DI
	MOVL	(DI), AX
	SUBL	16(R12), AX
	JMP	done
failed:
	NEGQ	AX
	MOVQ	88(R12), BX // stage
	MOVL	BX, 0(R13)
	MOVL	AX, 4(R13)
	MOVQ	80(R12), R12
	JMP	loop

TEXT ·interpretPC(SB), NOSPLIT, $0-8
	LEAQ	·interpret(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·clone(SB), NOSPLIT, $16-48
	MOVQ	$-1, all-8(SP)
	MOVQ	$14, AX // rt_sigprocmask
	MOVQ	$2, DI  // SIG_SETMASK
	LEAQ	all-8(SP), SI
	LEAQ	old-16(SP), DX
	MOVQ	$8, R10
	SYSCALL
	MOVQ	first+24(FP), R12 // the newborn has no stack
	MOVQ	report+32(FP), R13
	MOVQ	code+16(FP), BX
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	$435, AX // clone3
	SYSCALL
	TESTQ	AX, AX
	JEQ	newborn
	MOVQ	AX, ret+40(FP)
	MOVQ	$14, AX
	MOVQ	$2, DI
	LEAQ	old-16(SP), SI
	XORL	DX, DX
	MOVQ	$8, R10
	SYSCALL
	RET
newborn:
	JMP	BX
