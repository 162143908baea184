module @NAME@

go 1.26

require (
	github.com/usbarmory/tamago v1.26.1
	swiftlet/applet v0.0.0
)

replace swiftlet/applet => "@SDK@/go/applet"
