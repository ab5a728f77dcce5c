// SPDX-License-Identifier: GPL-2.0
/*
 * A bus with as many devices as asked for, on the nodes asked for: what
 * virtio-scsi cannot be told to be. The drivers are in parprobe_driver.
 *
 * When it is unloaded it says how many of its devices were released: one
 * that was not still has a reference that nobody put.
 */
#include <linux/atomic.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/numa.h>
#include <linux/slab.h>
#include <linux/version.h>

static int count = 24;
module_param(count, int, 0444);
MODULE_PARM_DESC(count, "How many devices");

static int nodes = 2;
module_param(nodes, int, 0444);
MODULE_PARM_DESC(nodes, "Devices are on nodes 0 to this in turn; 0: on none");

static int match_fails = -1;
module_param(match_fails, int, 0444);
MODULE_PARM_DESC(match_fails, "The match of this device is an error; -1: of none");

static atomic_t released;
/* Guards devices: the parameter vanish is there for as long as the module. */
static DEFINE_MUTEX(lock);
static struct device **devices;

/* The driver is const since d69d80484598 (v6.11). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
static int parprobe_match(struct device *dev, struct device_driver *drv)
#else
static int parprobe_match(struct device *dev, const struct device_driver *drv)
#endif
{
	if (match_fails >= 0 && dev->id == match_fails)
		return -EIO;
	return 1;
}

static struct bus_type parprobe_bus = {
	.name = "parprobe",
	.match = parprobe_match,
};

static ssize_t numa_node_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%d\n", dev_to_node(dev));
}
static DEVICE_ATTR_RO(numa_node);

static struct attribute *parprobe_attrs[] = {
	&dev_attr_numa_node.attr,
	NULL
};
ATTRIBUTE_GROUPS(parprobe);

static void parprobe_release(struct device *dev)
{
	atomic_inc(&released);
	kfree(dev);
}

static int parprobe_add(int id)
{
	struct device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int ret;

	if (!dev)
		return -ENOMEM;
	dev->id = id;
	dev->bus = &parprobe_bus;
	dev->groups = parprobe_groups;
	dev->release = parprobe_release;
	device_initialize(dev);
	set_dev_node(dev, nodes > 0 ? id % nodes : NUMA_NO_NODE);
	ret = dev_set_name(dev, "parprobe.%d", id);
	if (!ret)
		ret = device_add(dev);
	if (ret) {
		put_device(dev);
		return ret;
	}
	devices[id] = dev;
	return 0;
}

static void parprobe_remove_all(void)
{
	int id;

	mutex_lock(&lock);
	for (id = 0; id < count; id++)
		if (devices[id])
			device_unregister(devices[id]);
	kfree(devices);
	devices = NULL;
	mutex_unlock(&lock);
}

/* A device goes away while the others stay: write its number. */
static int vanish_set(const char *val, const struct kernel_param *kp)
{
	int id, ret = kstrtoint(val, 0, &id);

	if (ret)
		return ret;
	mutex_lock(&lock);
	if (!devices || id < 0 || id >= count || !devices[id]) {
		ret = -ENODEV;
	} else {
		device_unregister(devices[id]);
		devices[id] = NULL;
	}
	mutex_unlock(&lock);
	return ret;
}

static const struct kernel_param_ops vanish_ops = { .set = vanish_set };
module_param_cb(vanish, &vanish_ops, NULL, 0200);
MODULE_PARM_DESC(vanish, "Removes the device of this number");

static int __init parprobe_devices_init(void)
{
	int id, ret;

	ret = bus_register(&parprobe_bus);
	if (ret)
		return ret;
	devices = kcalloc(count, sizeof(*devices), GFP_KERNEL);
	if (!devices) {
		bus_unregister(&parprobe_bus);
		return -ENOMEM;
	}
	for (id = 0; id < count; id++) {
		ret = parprobe_add(id);
		if (ret) {
			parprobe_remove_all();
			bus_unregister(&parprobe_bus);
			return ret;
		}
	}
	return 0;
}
module_init(parprobe_devices_init);

/*
 * A device that still has a reference is told here and would call into freed
 * text when that is put: nothing waits, because nothing may keep one.
 */
static void __exit parprobe_devices_exit(void)
{
	parprobe_remove_all();
	bus_unregister(&parprobe_bus);
	pr_info("parprobe_devices: %d of %d devices released\n",
		atomic_read(&released), count);
}
module_exit(parprobe_devices_exit);

/* For parprobe_driver, whose drivers are on this bus. */
struct bus_type *parprobe_bus_type(void)
{
	return &parprobe_bus;
}
EXPORT_SYMBOL_GPL(parprobe_bus_type);

MODULE_DESCRIPTION("Devices to probe in parallel");
MODULE_LICENSE("GPL");
