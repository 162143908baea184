module swiftlet/applet

go 1.24
