package main

import "golang.org/x/sys/unix"

// The requests of ioctl(2) that read the settings of a terminal, and set them; the
// last discards what was typed and not read.
const (
	getTermios      = unix.TCGETS
	setTermios      = unix.TCSETS
	setTermiosFlush = unix.TCSETSF
)
