"""The lab: a virtual machine with an IOMMU, VFIO and KVM, for hosts that lack these."""
