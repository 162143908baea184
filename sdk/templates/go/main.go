package main

import (
	"fmt"
	"os"

	_ "swiftlet/applet"
)

func main() {
	name := "world"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	fmt.Printf("hello, %s\n", name)
}
