// SPDX-License-Identifier: GPL-2.0
/*
 * Drivers for the devices of parprobe_devices, whose probes take as long,
 * fail as often and nest as deep as asked for.
 */
#include <linux/async.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/nodemask.h>

struct bus_type *parprobe_bus_type(void);

static int delay_ms = 20;
module_param(delay_ms, int, 0444);
MODULE_PARM_DESC(delay_ms, "How long a probe sleeps");

static int fail_every;
module_param(fail_every, int, 0444);
MODULE_PARM_DESC(fail_every, "Each so-manieth probe fails with -EIO; 0: none");

static int nested;
module_param(nested, int, 0444);
MODULE_PARM_DESC(nested, "A probe schedules async work of its own: 1: in a domain of its own, and waits for that; 2: in the common domain, and waits for everything");

static int drivers = 1;
module_param(drivers, int, 0444);
MODULE_PARM_DESC(drivers, "2: a second driver matches the same devices");

static int gap_us;
module_param(gap_us, int, 0444);
MODULE_PARM_DESC(gap_us, "How long the second driver comes after the first");

static int hold;
module_param(hold, int, 0444);
MODULE_PARM_DESC(hold, "So many asynchronous calls on each node do nothing until all drivers are registered; with 512 no probe begins before");

static DECLARE_COMPLETION(registered);

static void hold_work(void *data, async_cookie_t cookie)
{
	wait_for_completion(&registered);
}

static void hold_workers(void)
{
	int node, i;

	for_each_online_node(node)
		for (i = 0; i < hold; i++)
			async_schedule_node(hold_work, NULL, node);
}

static void nested_work(void *data, async_cookie_t cookie)
{
	usleep_range(1000, 2000);
}

static void nest(void)
{
	ASYNC_DOMAIN_EXCLUSIVE(own);

	if (nested == 1) {
		async_schedule_domain(nested_work, NULL, &own);
		async_synchronize_full_domain(&own);
	} else if (nested == 2) {
		async_schedule(nested_work, NULL);
		async_synchronize_full();
	}
}

static int parprobe_probe(struct device *dev)
{
	/* msleep() makes at least two ticks of the shortest delay. */
	fsleep(delay_ms * 1000UL);
	nest();
	if (fail_every && (dev->id + 1) % fail_every == 0)
		return -EIO;
	return 0;
}

static struct device_driver driver = {
	.name = "parprobe",
	.owner = THIS_MODULE,
	.probe = parprobe_probe,
	.probe_type = PROBE_PREFER_ASYNCHRONOUS,
};

static struct device_driver second = {
	.name = "parprobe_second",
	.owner = THIS_MODULE,
	.probe = parprobe_probe,
	.probe_type = PROBE_PREFER_ASYNCHRONOUS,
};

static int register_second(void)
{
	if (gap_us)
		usleep_range(gap_us, gap_us + 100);
	pr_info("parprobe_driver: registers a second driver\n");
	return driver_register(&second);
}

static int __init parprobe_driver_init(void)
{
	int ret;

	driver.bus = parprobe_bus_type();
	second.bus = parprobe_bus_type();
	hold_workers();
	ret = driver_register(&driver);
	if (ret) {
		complete_all(&registered);
		goto failed;
	}
	if (drivers > 1)
		ret = register_second();
	/* Before the first is unregistered: that waits for its probes. */
	complete_all(&registered);
	if (!ret)
		return 0;
	driver_unregister(&driver);
failed:
	/* Nobody else waits for the calls of a module that does not stay. */
	async_synchronize_full();
	return ret;
}
module_init(parprobe_driver_init);

static void __exit parprobe_driver_exit(void)
{
	if (drivers > 1)
		driver_unregister(&second);
	driver_unregister(&driver);
}
module_exit(parprobe_driver_exit);

MODULE_DESCRIPTION("Slow probes");
MODULE_LICENSE("GPL");
